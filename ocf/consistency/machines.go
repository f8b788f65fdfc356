package consistency

import (
	"fmt"
	"slices"
	"strings"

	"github.com/braintree/lb/ocf/crm"
)

// general finds what concerns all clusters.
func (v Views) general() []Finding {
	found := []Finding{}
	if v.Config.Invalid != "" {
		found = append(found, problem("config-broken",
			fmt.Sprintf("%s cannot be used (%s): lb balance keeps its current configuration, but a restart or reload would fail",
				v.Config.Path, v.Config.Invalid),
			"`lb ctl check-config` lists every error with a fix"))
	}
	if v.Daemon.Error != "" {
		found = append(found, problem("daemon-silent",
			"lb balance does not respond on this machine: nothing can start here, and the weights of what runs here are frozen",
			v.Daemon.Error))
	}
	if v.Pacemaker.Error != nil {
		return append(found, *v.Pacemaker.Error)
	}
	found = append(found, v.quorumFindings()...)
	found = append(found, v.fencingFindings()...)
	for _, m := range v.Pacemaker.Status.Machines {
		if f, ok := machineFinding(m); ok {
			found = append(found, f)
		}
	}
	return found
}

// quorumFindings finds what is wrong with Pacemaker's cluster as a whole.
func (v Views) quorumFindings() []Finding {
	s := v.Pacemaker.Status
	var found []Finding
	var names []string
	for _, m := range s.Machines {
		names = append(names, m.Name)
	}
	if !slices.Contains(names, v.Machine) {
		found = append(found, problem("stranger",
			fmt.Sprintf("this machine's name is %s, but Pacemaker only knows %s", v.Machine, strings.Join(names, ", ")),
			"run this on a load balancer, or use the machine's own name (`uname -n`) in the nodelist of corosync.conf"))
	}
	switch {
	case s.Coordinator == "":
		found = append(found, problem("no-coordinator",
			"Pacemaker has elected no coordinator, so it takes no action; an election after a start takes up to half a minute",
			"run this command again; if that lasts, `corosync-quorumtool -s` and `journalctl -u corosync -u pacemaker` show why"))
	case !s.Quorum && s.NoQuorum != "ignore":
		found = append(found, problem("no-quorum",
			fmt.Sprintf("this side of the cluster has no majority of the machines, so Pacemaker starts nothing (no-quorum-policy is %s)",
				s.NoQuorum),
			"`corosync-quorumtool -s` shows who reaches whom: repair the network between the balancers, or start the missing machines"))
	}
	if s.Maintenance {
		found = append(found, note("maintenance-mode",
			"Pacemaker is in maintenance mode: it neither monitors nor moves resources",
			"when the work is done: `crm configure property maintenance-mode=false`"))
	}
	if s.StopAll {
		found = append(found, note("stop-all",
			"Pacemaker is configured to stop all resources",
			"to run resources again: `crm configure property stop-all-resources=false`"))
	}
	return found
}

func (v Views) fencingFindings() []Finding {
	s := v.Pacemaker.Status
	device := slices.ContainsFunc(s.Resources, func(r crm.Resource) bool { return strings.HasPrefix(r.Agent, "stonith:") })
	switch {
	case !s.Fencing:
		return []Finding{note("no-fencing",
			"fencing is off: a machine that is only cut off may still answer for an address after another machine took it over",
			"docs/runbook.md, Fencing")}
	case !device:
		return []Finding{problem("no-fence-device",
			"fencing is on, but Pacemaker has no fence device, so it starts nothing", "docs/runbook.md, Fencing")}
	}
	return nil
}

// stateOf returns a machine's state in one word.
func stateOf(m crm.Machine) string {
	switch {
	case m.Unclean:
		return "unclean"
	case m.Pending:
		return "joining"
	case !m.Online:
		return "offline"
	case m.Maintenance:
		return "maintenance"
	case m.Standby:
		return "standby"
	}
	return "online"
}

// machineFinding reports a machine that is not online.
func machineFinding(m crm.Machine) (Finding, bool) {
	switch stateOf(m) {
	case "unclean":
		return problem("machine-unclean",
			fmt.Sprintf("%s does not respond and is not fenced yet: Pacemaker starts none of its resources elsewhere until then", m.Name),
			fmt.Sprintf("`stonith_admin --history %s` shows the attempts; if fencing cannot work, switch the machine off by hand, "+
				"make sure that it is off, and only then: `stonith_admin --confirm %s`", m.Name, m.Name)), true
	case "offline":
		return note("machine-offline", m.Name+" is offline: it cannot take over anything",
			"start it, then `systemctl start pacemaker` there"), true
	case "standby":
		return note("machine-standby", m.Name+" is in standby: it runs nothing and cannot take over anything",
			"when the work is done: `crm node online "+m.Name+"`"), true
	case "maintenance":
		return note("machine-maintenance", m.Name+" is in maintenance: Pacemaker neither monitors nor moves what runs there",
			"when the work is done: `crm node ready "+m.Name+"`"), true
	case "joining":
		return note("machine-joining", m.Name+" is joining", "run this command again in a moment"), true
	}
	return Finding{}, false
}

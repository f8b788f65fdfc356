package consistency

import (
	"fmt"
	"slices"
	"strings"

	"github.com/braintree/lb/ocf/crm"
)

// general finds what concerns all clusters at once.
func (v Views) general() []Finding {
	found := []Finding{}
	if v.Config.Broken != "" {
		found = append(found, Finding{Trouble, "config-broken",
			fmt.Sprintf("%s cannot be used (%s): lb balance goes on with what it has, and neither a restart nor a reload would work", v.Config.Path, v.Config.Broken),
			"`lb ctl check-config` tells every mistake with its mend"})
	}
	if v.Daemon.Trouble != "" {
		found = append(found, Finding{Trouble, "daemon-silent", "lb balance does not answer on this machine: nothing can be started here, and what runs here keeps its weights as they were", v.Daemon.Trouble})
	}
	if v.Pacemaker.Trouble != nil {
		return append(found, *v.Pacemaker.Trouble)
	}
	found = append(found, v.partition()...)
	found = append(found, v.fencing()...)
	for _, m := range v.Pacemaker.Status.Machines {
		if f, ok := machineFinding(m); ok {
			found = append(found, f)
		}
	}
	return found
}

// partition finds what is the matter with the machines as a whole.
func (v Views) partition() []Finding {
	s := v.Pacemaker.Status
	var found []Finding
	var names []string
	for _, m := range s.Machines {
		names = append(names, m.Name)
	}
	if !slices.Contains(names, v.Machine) {
		found = append(found, Finding{Trouble, "stranger", fmt.Sprintf("this machine calls itself %s, and Pacemaker knows %s only", v.Machine, strings.Join(names, ", ")),
			"run it on a balancer, or give the nodelist of corosync.conf the machine's own name (`uname -n`)"})
	}
	switch {
	case s.Coordinator == "":
		found = append(found, Finding{Trouble, "no-coordinator", "Pacemaker has elected no coordinator, so nothing is decided; after a start that is so for up to half a minute",
			"ask again; if it stays so, `corosync-quorumtool -s` and `journalctl -u corosync -u pacemaker` tell why"})
	case !s.Quorum && s.NoQuorum != "ignore":
		found = append(found, Finding{Trouble, "no-quorum", fmt.Sprintf("this side of the cluster sees no majority of the machines, so Pacemaker starts nothing (no-quorum-policy is %s)", s.NoQuorum),
			"`corosync-quorumtool -s` shows who sees whom: mend the network between the balancers, or start the missing machines"})
	}
	if s.Maintenance {
		found = append(found, Finding{Note, "maintenance-mode", "Pacemaker is in maintenance mode: it watches nothing and moves nothing, whatever fails",
			"when the work is done: `crm configure property maintenance-mode=false`"})
	}
	if s.StopAll {
		found = append(found, Finding{Note, "stop-all", "Pacemaker is told to run nothing at all", "when that is over: `crm configure property stop-all-resources=false`"})
	}
	return found
}

// fencing finds what is the matter with it.
func (v Views) fencing() []Finding {
	s := v.Pacemaker.Status
	device := slices.ContainsFunc(s.Resources, func(r crm.Resource) bool { return strings.HasPrefix(r.Agent, "stonith:") })
	switch {
	case !s.Fencing:
		return []Finding{{Note, "no-fencing", "fencing is off: a machine that is only cut off may answer for an address together with the one that took it over",
			"docs/runbook.md, Fencing"}}
	case !device:
		return []Finding{{Trouble, "no-fence-device", "Pacemaker is to fence and has no device for it, so it starts nothing", "docs/runbook.md, Fencing"}}
	}
	return nil
}

// stateOf is a machine's state in a word.
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

// machineFinding finds what is the matter with one machine.
func machineFinding(m crm.Machine) (Finding, bool) {
	switch stateOf(m) {
	case "unclean":
		return Finding{Trouble, "machine-unclean", fmt.Sprintf("%s does not answer and is not fenced yet: what runs there is started nowhere else before it is", m.Name),
			fmt.Sprintf("`stonith_admin --history %s` shows the attempts; if fencing cannot work, switch the machine off by hand, make sure that it is off, and only then: `stonith_admin --confirm %s`", m.Name, m.Name)}, true
	case "offline":
		return Finding{Note, "machine-offline", m.Name + " is offline: it can take nothing over", "start it, then `systemctl start pacemaker` there"}, true
	case "standby":
		return Finding{Note, "machine-standby", m.Name + " is in standby: it runs nothing and can take nothing over", "when the work is done: `crm node online " + m.Name + "`"}, true
	case "maintenance":
		return Finding{Note, "machine-maintenance", m.Name + " is in maintenance: Pacemaker neither watches nor moves what runs there", "when the work is done: `crm node ready " + m.Name + "`"}, true
	case "joining":
		return Finding{Note, "machine-joining", m.Name + " is just joining", "ask again in a moment"}, true
	}
	return Finding{}, false
}

package consistency

import (
	"fmt"
	"slices"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/ocf/crm"
)

// facts are what is known about one cluster.
type facts struct {
	name     string
	mark     uint32
	config   *config.Cluster // nil: not in lb.toml, or that cannot be read
	resource crm.Resource    // empty: not in Pacemaker, or that does not answer
	where    Where
	state    api.ClusterStatus // empty unless daemon is running or stopped
	daemon   string
	kernel   Forwarding
}

// nameOf is the name of the cluster whose resource lb gives this id.
func nameOf(id string) string { return strings.TrimPrefix(id, "cluster-") }

// facts gathers what is known about a cluster.
func (v Views) facts(name string) facts {
	f := facts{name: name, daemon: unknown, mark: v.Config.Marks[name]}
	for i, c := range v.Config.Clusters {
		if c.Name == name {
			f.config, f.mark = &v.Config.Clusters[i], c.Mark
		}
	}
	for _, c := range v.Daemon.Status.Clusters {
		if c.Name == name {
			f.state, f.daemon, f.mark = c, stopped, c.Mark // what it has in the kernel may be older than the file
			if c.Running {
				f.daemon = running
			}
		}
	}
	if v.Daemon.Trouble != "" {
		f.daemon = silent
	}
	has := false
	for _, r := range v.Pacemaker.Status.Resources {
		if r.Agent == clusterAgent && v.clusterOf(r) == name {
			f.resource, has = r, true
		}
	}
	f.where = v.where(f.resource, has)
	for _, s := range v.Kernel.Services {
		if f.mark != 0 && s.Mark == ipvs.Mark(f.mark) {
			f.kernel.Service = true
			f.kernel.Nodes += len(s.Destinations)
			for _, d := range s.Destinations {
				if d.Weight > 0 {
					f.kernel.Weighted++
				}
			}
		}
	}
	return f
}

// where says where Pacemaker runs a resource.
func (v Views) where(r crm.Resource, has bool) Where {
	w := Where{Resource: r.ID, State: elsewhere, Machines: append([]string{}, r.On...)}
	switch {
	case v.Pacemaker.Trouble != nil:
		w.State = silent
	case !has:
		w.State = absent
	case len(r.On) == 0:
		w.State = nowhere
	case slices.Contains(r.On, v.Machine):
		w.State = here
	}
	return w
}

// String says it in a sentence: here, nowhere, on load02.
func (w Where) String() string {
	switch {
	case w.State == elsewhere, len(w.Machines) > 1:
		return "on " + strings.Join(w.Machines, " and ")
	case w.State == absent:
		return "not at all"
	case w.State == silent:
		return "somewhere"
	}
	return w.State
}

// cluster compares what is said about one cluster.
func (v Views) cluster(name string) Cluster {
	f := v.facts(name)
	c := Cluster{Name: name, Mark: f.mark, Pacemaker: f.where, Daemon: f.daemon, Kernel: f.kernel, Addresses: []VIP{}, Findings: []Finding{}}
	c.Findings = append(c.Findings, v.known(f)...)
	c.Findings = append(c.Findings, v.managed(f.resource)...)
	c.Findings = append(c.Findings, v.spares(f)...)
	c.Findings = append(c.Findings, v.placed(f)...)
	addresses := v.addresses(f)
	for _, a := range addresses {
		c.Addresses = append(c.Addresses, a.VIP)
		c.Findings = append(c.Findings, v.addressFindings(f, a)...)
	}
	c.Findings = append(c.Findings, v.orders(f, addresses)...)
	return c
}

// known finds who does not know the cluster at all.
func (v Views) known(f facts) []Finding {
	var found []Finding
	load := fmt.Sprintf("`lb ctl pacemaker %s | crm configure load update -`", f.name)
	inFile := f.config != nil || f.mark != 0 && v.Config.Marks[f.name] != 0
	switch {
	case f.where.State == absent && f.config != nil && f.config.Autostart:
		found = append(found, Finding{Note, "not-in-pacemaker", "Pacemaker does not have it, and autostart = true has lb balance run it: it stays here when this machine fails",
			"if Pacemaker is to move it, remove autostart, then " + load})
	case f.where.State == absent && inFile:
		found = append(found, Finding{Trouble, "not-in-pacemaker", fmt.Sprintf("it is in %s and not in Pacemaker, so nobody starts it anywhere", v.Config.Path), load})
	case f.where.State == absent:
		found = append(found, Finding{Trouble, "not-in-config", fmt.Sprintf("lb balance has it, and %s has it no more", v.Config.Path), "`lb ctl reload`"})
	case f.resource.Orphaned:
		found = append(found, Finding{Trouble, "orphaned", fmt.Sprintf("it was taken out of Pacemaker's configuration while it ran %s", f.where),
			fmt.Sprintf("`crm resource cleanup %s`; if it is to go on, %s", f.resource.ID, load)})
	case f.where.State != silent && !inFile && v.Config.Broken == "":
		found = append(found, Finding{Trouble, "not-in-config", fmt.Sprintf("Pacemaker has it, as %s, and %s has no [clusters.%s]: its next start fails", f.resource.ID, v.Config.Path, f.name),
			fmt.Sprintf("put it back into the file, then `lb ctl reload`; or `crm resource stop %s && crm configure delete %s`", holder(f.resource), holder(f.resource))})
	}
	if f.daemon == unknown && inFile {
		found = append(found, Finding{Trouble, "not-in-daemon", fmt.Sprintf("it is in %s, and lb balance has not read that yet", v.Config.Path), "`lb ctl reload`"})
	}
	return found
}

// managed finds what Pacemaker itself says is the matter with a resource.
func (v Views) managed(r crm.Resource) []Finding {
	switch {
	case r.ID == "":
		return nil
	case len(r.On) > 1 && r.Clone == "" && !r.Orphaned: // what is in no configuration is in no clone either
		return []Finding{{Trouble, "twice", fmt.Sprintf("Pacemaker has %s on %s at once", r.ID, strings.Join(r.On, " and ")),
			fmt.Sprintf("`crm resource refresh %s` has it looked at anew; it stops all and starts one", r.ID)}}
	case r.Blocked || r.Failed:
		return []Finding{broken(r)}
	case r.Pending != "":
		return []Finding{changing(r)}
	case len(r.On) == 0 && r.TargetRole == "Stopped":
		return []Finding{{Note, "disabled", fmt.Sprintf("Pacemaker has %s stopped, as somebody told it", r.ID), fmt.Sprintf("when it is to run: `crm resource start %s`", holder(r))}}
	case len(r.On) == 0:
		return []Finding{{Trouble, "nowhere", fmt.Sprintf("Pacemaker runs %s nowhere", r.ID), fmt.Sprintf("`crm_resource --why --resource %s` and `crm status` tell why; after failures that are mended: `crm resource cleanup %s`", r.ID, r.ID)}}
	case !r.Managed && !v.Pacemaker.Status.Maintenance:
		return []Finding{{Note, "unmanaged", fmt.Sprintf("Pacemaker does not manage %s: it moves nothing, whatever fails", r.ID), fmt.Sprintf("when the work is done: `crm resource manage %s`", holder(r))}}
	}
	return nil
}

// spares finds machines that could take nothing over, of those where the cluster should run beside the others.
func (v Views) spares(f facts) []Finding {
	r := f.resource
	if r.Clone == "" || len(r.On) == 0 || r.Pending != "" {
		return nil
	}
	var missing []string
	for _, m := range v.Pacemaker.Status.Machines {
		if stateOf(m) == "online" && !slices.Contains(r.On, m.Name) {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []Finding{{Note, "spare-missing", fmt.Sprintf("it does not run on %s, which can take none of its addresses over therefore", strings.Join(missing, " and ")),
		fmt.Sprintf("`crm_resource --why --resource %s` and `crm status` tell why; after failures that are mended: `crm resource cleanup %s`", r.ID, r.ID)}}
}

// changing words that Pacemaker is at it.
func changing(r crm.Resource) Finding {
	return Finding{Note, "changing", fmt.Sprintf("Pacemaker is just at it: %s is %s", r.ID, strings.ToLower(r.Pending)), "ask again in a moment"}
}

// broken words that a resource failed.
func broken(r crm.Resource) Finding {
	if r.Blocked {
		return Finding{Trouble, "blocked", fmt.Sprintf("%s could not be stopped on %s, and Pacemaker does nothing with it any more", r.ID, strings.Join(r.Broken, " and ")),
			fmt.Sprintf("`crm status` has the agent's words; when the cause is mended: `crm resource cleanup %s`", r.ID)}
	}
	return Finding{Trouble, "failed", fmt.Sprintf("%s has failed on %s", r.ID, strings.Join(r.Broken, " and ")),
		fmt.Sprintf("Pacemaker is about to start it again or elsewhere; `crm status` has the agent's words; if it stays so: `crm resource cleanup %s`", r.ID)}
}

// unmarked gives the first port of a virtual IP whose packets get no mark, or another one; "" when all do.
func (v Views) unmarked(f facts) string {
	if f.config == nil {
		return ""
	}
	for _, vip := range f.config.VIPs {
		for _, port := range vip.Ports {
			want := mark.Rule{Address: vip.Address, Interface: vip.Interface, Protocol: vip.Protocol, Port: port, Mark: ipvs.Mark(f.mark)}
			if !slices.Contains(v.Kernel.Rules, want) {
				return fmt.Sprintf("%s, %s port %d", vip.Address, vip.Protocol, port)
			}
		}
	}
	return ""
}

// orders finds failures that are over, and what operators told Pacemaker about places and have not taken back.
func (v Views) orders(f facts, addresses []address) []Finding {
	mine := []string{f.resource.ID, f.resource.Group, f.resource.Clone}
	for _, a := range addresses {
		mine = append(mine, a.resource.ID, a.resource.Group)
	}
	slices.Sort(mine)
	mine = slices.Compact(mine)
	mine = slices.DeleteFunc(mine, func(id string) bool { return id == "" })
	var found []Finding
	for _, failure := range v.Pacemaker.Status.Failures {
		if id := failure.Resource(); slices.Contains(mine, id) {
			found = append(found, Finding{Note, "failure-kept", fmt.Sprintf("%s failed on %s at %s: %s", failure.Operation, failure.Machine, failure.When, failure.Why()),
				fmt.Sprintf("Pacemaker forgets it after the failure-timeout of two minutes; at once: `crm resource cleanup %s`", id)})
		}
	}
	for _, o := range v.Pacemaker.Told.Orders {
		if slices.Contains(mine, o.Resource) {
			found = append(found, Finding{Note, "ordered", fmt.Sprintf("somebody told Pacemaker where %s is to run (%s), and that holds on", o.Resource, o.ID),
				fmt.Sprintf("`crm resource clear %s`", o.Resource)})
		}
	}
	return found
}

// holder is what is told about a resource's place: its group or clone, where it is in one.
func holder(r crm.Resource) string {
	switch {
	case r.Group != "":
		return r.Group
	case r.Clone != "":
		return r.Clone
	}
	return r.ID
}

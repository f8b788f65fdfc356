package consistency

import (
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/ocf/crm"
)

// facts gathers the views of one cluster.
type facts struct {
	name      string
	mark      uint32
	config    *config.Cluster // nil: not in the configuration, or that cannot be read
	resource  crm.Resource    // empty: not in Pacemaker, or Pacemaker does not respond
	placement Placement
	state     api.ClusterStatus // empty unless daemon is running or stopped
	daemon    string
	kernel    Forwarding
}

func (v Views) facts(name string) facts {
	f := facts{name: name, daemon: unknown, mark: v.Config.Marks[name]}
	for i, c := range v.Config.Clusters {
		if c.Name == name {
			f.config, f.mark = &v.Config.Clusters[i], c.Mark
		}
	}
	for _, c := range v.Daemon.Status.Clusters {
		if c.Name == name {
			f.state, f.daemon, f.mark = c, stopped, c.Mark // the kernel has this mark, even if the file changed since
			if c.Running {
				f.daemon = running
			}
		}
	}
	if v.Daemon.Error != "" {
		f.daemon = daemonSilent
	}
	found := false
	for _, r := range v.Pacemaker.Status.Resources {
		if r.Agent == clusterAgent && v.clusterOf(r) == name {
			f.resource, found = r, true
		}
	}
	f.placement = v.placementOf(f.resource, found)
	f.kernel = v.forwarding(f.mark)
	return f
}

// placementOf says where Pacemaker runs a resource. found: Pacemaker has it.
func (v Views) placementOf(r crm.Resource, found bool) Placement {
	p := Placement{Resource: r.ID, State: elsewhere, Machines: append([]string{}, r.On...)}
	switch {
	case v.Pacemaker.Error != nil:
		p.State = pacemakerSilent
	case !found:
		p.State = absent
	case len(r.On) == 0:
		p.State = nowhere
	case slices.Contains(r.On, v.Machine):
		p.State = here
	}
	return p
}

// forwarding counts the nodes of the kernel's services with a mark; there is one service for each IP version.
func (v Views) forwarding(mark uint32) Forwarding {
	var f Forwarding
	for _, s := range v.Kernel.Services {
		if mark == 0 || s.Mark != ipvs.Mark(mark) {
			continue
		}
		f.Service = true
		f.Nodes += len(s.Destinations)
		for _, d := range s.Destinations {
			if d.Weight > 0 {
				f.Weighted++
			}
		}
	}
	return f
}

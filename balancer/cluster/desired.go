package cluster

import (
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Desired returns the desired services of the kernel, sorted by key for each cluster, and the marks that lb owns: it may remove
// other services with these marks. marked reports whether the marking rules are up to date, so that no packet gets a mark that a
// reload has removed.
func (m *Model) Desired(now time.Time, table []ipvs.Service, marked bool) ([]ipvs.Service, map[ipvs.Mark]bool) {
	var services []ipvs.Service
	owned := m.retired.owned(marked)
	for _, c := range m.clusters {
		if c.running {
			for _, mark := range c.Marks() {
				owned[mark] = true
			}
			services = append(services, desired{c, now, table}.services()...)
			continue
		}
		if r, news := unmanagedReport(now, c, hasMark(table, c.Mark()) && !owned[c.Mark()]); news {
			m.emit(r)
		}
	}
	return services, owned
}

// Edits plans the weights that readings have changed since the last call, in running clusters, as edits of nodes that are already in
// the table, and removals of those that failed. It skips a cluster that needs more: additions must precede reductions of weight, and
// the removal of a leaving node depends on its current connections. It also returns the marks of the clusters that it considered.
func (m *Model) Edits(now time.Time, table []ipvs.Service) (plan.Plan, map[ipvs.Mark]bool) {
	var edits plan.Plan
	owned := map[ipvs.Mark]bool{}
	for _, c := range m.clusters {
		if !c.running || !c.changed {
			continue
		}
		c.tick(now)
		for _, mark := range c.Marks() {
			owned[mark] = true
		}
		edits = append(edits, desired{c, now, table}.edits(owned)...)
	}
	return edits, owned
}

// Changed reports whether readings have changed weights of running clusters and the kernel does not have them yet.
func (m *Model) Changed() bool {
	return slices.ContainsFunc(m.clusters, func(c *Cluster) bool { return c.running && c.changed })
}

// Reconciled records that the kernel has all changed weights.
func (m *Model) Reconciled() {
	for _, c := range m.clusters {
		c.changed = false
	}
}

// desired returns the desired services of a cluster, given the kernel's current table.
type desired struct {
	*Cluster
	now   time.Time
	table []ipvs.Service
}

// services returns one service for each family of the virtual IPs with the nodes of that family, those of the relay, and the leaving
// nodes of the table.
func (d desired) services() []ipvs.Service {
	var services []ipvs.Service
	for _, family := range d.families() {
		s := d.service(family)
		for _, n := range d.nodes {
			if ipvs.FamilyOf(n.cfg.Address) == family && !d.omits(n, s.Key) {
				s.Destinations = append(s.Destinations, d.destination(n))
			}
		}
		services = append(services, s)
	}
	relays := d.relays(services)
	for i, s := range services {
		services[i].Destinations = append(s.Destinations, d.lastResort(s.Family)...)
	}
	services = append(services, relays...)
	d.keepLeaving(services)
	return services
}

// omits reports whether a node is not to be in a service: it failed and the cluster removes such nodes. One that has not responded yet is
// not added, but stays where it is: it may have been leaving.
func (d desired) omits(n *Node, k ipvs.Key) bool {
	if !n.state.InCluster.Removed || n.state.Phase != decide.Unknown {
		return n.state.InCluster.Removed
	}
	at, has := ipvs.Find(d.table, k)
	return !has || !slices.ContainsFunc(d.table[at].Destinations, func(to ipvs.Destination) bool {
		return to.Address == n.cfg.Address && to.Port == 0
	})
}

// edits plans the services as edits and removals of nodes in the table; nothing if the cluster needs more than these.
func (d desired) edits(owned map[ipvs.Mark]bool) plan.Plan {
	services := d.services()
	var have []ipvs.Service
	for _, s := range services {
		if at, has := ipvs.Find(d.table, s.Key); has {
			have = append(have, d.table[at])
		}
	}
	p := plan.Diff(services, have, owned)
	if slices.ContainsFunc(p, func(op plan.Op) bool {
		edits := op.Kind == plan.PutDestination && op.Edit || op.Kind == plan.DeleteDestination
		return !edits || d.Leaves(&op.Destination)
	}) {
		return nil
	}
	return p
}

// relays returns the services for packets from other data centres, derived from the cluster's own services; none without a relay.
// They contain only the nodes of the configuration.
func (d desired) relays(own []ipvs.Service) []ipvs.Service {
	if !d.cfg.Relay.Enabled {
		return nil
	}
	relays := slices.Clone(own)
	for i, s := range own {
		relays[i].Mark = ipvs.Mark(d.cfg.Relay.Mark)
		relays[i].Destinations = slices.DeleteFunc(slices.Clone(s.Destinations), func(to ipvs.Destination) bool {
			n := d.nodes.find(to.Address)
			return n == nil || n.remote != nil
		})
	}
	return relays
}

// lastResort returns the destination that a service gets in addition to its nodes while no node has weight.
func (d desired) lastResort(family ipvs.Family) []ipvs.Destination {
	page := d.downpage(family)
	if !d.verdict.Downpage || !page.IsValid() {
		return nil
	}
	to := ipvs.Destination{Address: page.Addr(), Port: page.Port(), Forwarding: d.forwarding(), Weight: 1}
	if len(d.page) > 0 {
		to.Forwarding = ipvs.Masq // only this method delivers packets to another port of the machine itself
	}
	return []ipvs.Destination{to}
}

// keepLeaving adds the draining destinations that are in the table but not in the configuration.
func (d desired) keepLeaving(services []ipvs.Service) {
	leaving := map[netip.AddrPort]time.Time{}
	for i := range services {
		at, has := ipvs.Find(d.table, services[i].Key)
		if !has {
			continue
		}
		for j := range d.table[at].Destinations {
			to := &d.table[at].Destinations[j]
			if !d.Leaves(to) || d.verdict.Downpage && d.isPage(*to) {
				continue
			}
			id := netip.AddrPortFrom(to.Address, to.Port)
			since, ok := d.leaving.since[id]
			if !ok {
				since = d.now
			}
			leaving[id] = since
			if d.cfg.OnFailure == config.RemoveFailed && (d.isPage(*to) || d.leaving.departed[to.Address] != "") {
				continue // nodes are back, or another data centre no longer takes its connections
			}
			if stays, keep := plan.Leaving(d.now, since, d.cfg.DrainTimeout, *to); keep {
				services[i].Destinations = append(services[i].Destinations, stays)
			}
		}
	}
	d.leaving.update(leaving)
}

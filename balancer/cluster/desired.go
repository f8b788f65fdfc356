package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// services are the cluster's services as the kernel should have them: one for each family of its virtual IPs with the nodes of that family, those
// of its relay, and the nodes of the table that are leaving.
func (c *Cluster) services(now time.Time, table []ipvs.Service) []ipvs.Service {
	var services []ipvs.Service
	for _, family := range c.families() {
		s := service(c.cfg, family)
		for _, n := range c.nodes {
			if ipvs.FamilyOf(n.cfg.Address) == family {
				s.Destinations = append(s.Destinations, c.destination(n))
			}
		}
		services = append(services, s)
	}
	relays := c.relayServices(services)
	for i, s := range services {
		services[i].Destinations = append(s.Destinations, c.lastResort(s.Family)...)
	}
	services = append(services, relays...)
	c.keepLeaving(now, services, table)
	return services
}

// Edits plans what readings have changed since the last call, in the running clusters, as edits of nodes that the table already has. Where more
// has to be done to a cluster, none of it is planned: additions have to come before what loses weight, and removals depend on the current
// connections. It also returns the marks of the clusters that it considered.
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
		edits = append(edits, c.edits(now, table, owned)...)
	}
	return edits, owned
}

// Changed reports whether readings have changed weights of running clusters that the kernel does not have yet.
func (m *Model) Changed() bool {
	return slices.ContainsFunc(m.clusters, func(c *Cluster) bool { return c.running && c.changed })
}

// Reconciled notes that the kernel has been given all changed weights.
func (m *Model) Reconciled() {
	for _, c := range m.clusters {
		c.changed = false
	}
}

func (c *Cluster) edits(now time.Time, table []ipvs.Service, owned map[ipvs.Mark]bool) plan.Plan {
	desired := c.services(now, table)
	var have []ipvs.Service
	for _, s := range desired {
		if at, has := ipvs.Find(table, s.Key); has {
			have = append(have, table[at])
		}
	}
	p := plan.Diff(desired, have, owned)
	if slices.ContainsFunc(p, func(op plan.Op) bool {
		return op.Kind != plan.PutDestination || !op.Edit || c.Leaves(&op.Destination)
	}) {
		return nil
	}
	return p
}

// keepLeaving adds to the services what the kernel's table has in them beyond the configuration, as long as it drains.
func (c *Cluster) keepLeaving(now time.Time, services, table []ipvs.Service) {
	leaving := map[netip.AddrPort]time.Time{}
	for i := range services {
		at, has := ipvs.Find(table, services[i].Key)
		if !has {
			continue
		}
		for j := range table[at].Destinations {
			d := &table[at].Destinations[j]
			if !c.Leaves(d) || c.verdict.Downpage && c.isPage(*d) {
				continue
			}
			id := netip.AddrPortFrom(d.Address, d.Port)
			since, ok := c.leaving[id]
			if !ok {
				since = now
			}
			leaving[id] = since
			if d, stays := plan.Leaving(now, since, c.cfg.DrainTimeout, *d); stays {
				services[i].Destinations = append(services[i].Destinations, d)
			}
		}
	}
	c.leaving = leaving
	maps.DeleteFunc(c.departed, func(a netip.Addr, _ string) bool { _, ok := leaving[netip.AddrPortFrom(a, 0)]; return !ok })
}

// relayServices are the services for packets from other data centres, made from the cluster's own ones; none without a relay. They have only the
// nodes of the configuration.
func (c *Cluster) relayServices(own []ipvs.Service) []ipvs.Service {
	if !c.cfg.Relay.Enabled {
		return nil
	}
	relays := slices.Clone(own)
	for i, s := range own {
		relays[i].Mark = ipvs.Mark(c.cfg.Relay.Mark)
		relays[i].Destinations = slices.DeleteFunc(slices.Clone(s.Destinations), func(d ipvs.Destination) bool {
			n := c.node(d.Address)
			return n == nil || n.remote != nil
		})
	}
	return relays
}

// service is a cluster's service of one family, without destinations.
func service(c config.Cluster, family ipvs.Family) ipvs.Service {
	s := ipvs.Service{Key: ipvs.Key{Mark: ipvs.Mark(c.Mark), Family: family}, Scheduler: c.Scheduler}
	for _, f := range []struct {
		set  bool
		flag ipvs.Flags
	}{
		{c.Fallback, ipvs.SchedFallback}, {c.HashPort, ipvs.SchedPort},
		{c.OnePacket, ipvs.OnePacket}, {c.Persistence > 0, ipvs.Persistent},
	} {
		if f.set {
			s.Flags |= f.flag
		}
	}
	if c.Persistence > 0 {
		s.Timeout, s.Prefix = c.Persistence, c.PersistenceNetmask
		if family == ipvs.IPv6 {
			s.Prefix = c.PersistenceNetmaskV6
		}
	}
	return s.Canonical()
}

// destination is a node in the cluster's service. Packets reach another data centre only through a tunnel.
func (c *Cluster) destination(n *Node) ipvs.Destination {
	d := ipvs.Destination{
		Address: n.cfg.Address, Forwarding: forwarding(c.cfg.Forwarding), Weight: ipvs.Weight(n.weight), Upper: n.cfg.MaxConnections,
	}
	if n.remote != nil {
		d.Forwarding = ipvs.Tunnel
	}
	if d.Upper > 0 {
		d.Lower = c.cfg.MinConnections
	}
	return d
}

func forwarding(f config.Forwarding) ipvs.Forwarding {
	switch f {
	case config.DR:
		return ipvs.Route
	case config.NAT:
		return ipvs.Masq
	}
	return ipvs.Tunnel
}

// markRules are the marking rules of one cluster.
func markRules(c config.Cluster) []mark.Rule {
	var rules []mark.Rule
	for _, v := range c.VIPs {
		for _, port := range v.Ports {
			r := mark.Rule{Address: v.Address, Interface: v.Interface, Protocol: v.Protocol, Port: port, Mark: ipvs.Mark(c.Mark)}
			rules = append(rules, r)
			if !c.Relay.Enabled {
				continue
			}
			r.Mark = ipvs.Mark(c.Relay.Mark)
			for _, r.Interface = range c.Relay.InterfacesFor(v.Address) {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

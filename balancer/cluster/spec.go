package cluster

import (
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// spec is a cluster as the configuration describes it, in the terms of the kernel and of decisions.
type spec struct{ cfg config.Cluster }

// Name is the cluster's name.
func (s *spec) Name() string { return s.cfg.Name }

// Config is the cluster's configuration.
func (s *spec) Config() config.Cluster { return s.cfg }

// Mark is the mark of the cluster's own services.
func (s *spec) Mark() ipvs.Mark { return ipvs.Mark(s.cfg.Mark) }

// Marks returns the marks of all its services: its own and, if it has a relay, the relay's.
func (s *spec) Marks() []ipvs.Mark {
	marks := []ipvs.Mark{s.Mark()}
	if s.cfg.Relay.Enabled {
		marks = append(marks, ipvs.Mark(s.cfg.Relay.Mark))
	}
	return marks
}

// hasMark reports whether one of its services has the mark.
func (s *spec) hasMark(mark ipvs.Mark) bool {
	return mark == s.Mark() || s.cfg.Relay.Enabled && mark == ipvs.Mark(s.cfg.Relay.Mark)
}

// ServesPage reports whether lb itself serves the cluster's downpage while the cluster runs.
func (s *spec) ServesPage() bool { return s.cfg.Downpage.Page && s.cfg.AllDown == config.ToPage }

// PageAddresses are the first virtual IP of each family. lb serves the downpage there, for all virtual IPs of the family.
func (s *spec) PageAddresses() []netip.Addr {
	var addresses []netip.Addr
	for _, family := range s.families() {
		at := slices.IndexFunc(s.cfg.VIPs, func(v config.VIP) bool { return ipvs.FamilyOf(v.Address) == family })
		addresses = append(addresses, s.cfg.VIPs[at].Address)
	}
	return addresses
}

// families are the address families of the virtual IPs, IPv4 first.
func (s *spec) families() []ipvs.Family {
	var families []ipvs.Family
	for _, v := range s.cfg.VIPs {
		if f := ipvs.FamilyOf(v.Address); !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	slices.Sort(families)
	return families
}

// isVirtualIP reports whether an address is one of the cluster's virtual IPs.
func (s *spec) isVirtualIP(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.VIPs, func(v config.VIP) bool { return v.Address == a })
}

// service is the cluster's service of one family, without destinations.
func (s *spec) service(family ipvs.Family) ipvs.Service {
	c := s.cfg
	service := ipvs.Service{Key: ipvs.Key{Mark: s.Mark(), Family: family}, Scheduler: c.Scheduler}
	for _, f := range []struct {
		set  bool
		flag ipvs.Flags
	}{
		{c.Fallback, ipvs.SchedFallback}, {c.HashPort, ipvs.SchedPort},
		{c.OnePacket, ipvs.OnePacket}, {c.Persistence > 0, ipvs.Persistent},
	} {
		if f.set {
			service.Flags |= f.flag
		}
	}
	if c.Persistence > 0 {
		service.Timeout, service.Prefix = c.Persistence, c.PersistenceNetmask
		if family == ipvs.IPv6 {
			service.Prefix = c.PersistenceNetmaskV6
		}
	}
	return service.Canonical()
}

// destination is a node in the cluster's service. Packets reach another data centre only through a tunnel.
func (s *spec) destination(n *Node) ipvs.Destination {
	d := ipvs.Destination{
		Address: n.cfg.Address, Forwarding: s.forwarding(), Weight: ipvs.Weight(n.weight), Upper: n.cfg.MaxConnections,
	}
	if n.remote != nil {
		d.Forwarding = ipvs.Tunnel
	}
	if d.Upper > 0 {
		d.Lower = s.cfg.MinConnections
	}
	return d
}

func (s *spec) forwarding() ipvs.Forwarding {
	switch s.cfg.Forwarding {
	case config.DR:
		return ipvs.Route
	case config.NAT:
		return ipvs.Masq
	}
	return ipvs.Tunnel
}

// markRules are the cluster's marking rules: from each port of a virtual IP to the cluster's mark and, for packets that arrive from
// other data centres, to the mark of its relay.
func (s *spec) markRules() []mark.Rule {
	var rules []mark.Rule
	for _, v := range s.cfg.VIPs {
		for _, port := range v.Ports {
			r := mark.Rule{Address: v.Address, Interface: v.Interface, Protocol: v.Protocol, Port: port, Mark: s.Mark()}
			rules = append(rules, r)
			if !s.cfg.Relay.Enabled {
				continue
			}
			r.Mark = ipvs.Mark(s.cfg.Relay.Mark)
			for _, r.Interface = range s.cfg.Relay.InterfacesFor(v.Address) {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// settings are what the configuration says about the weight of each node.
func (s *spec) settings() decide.Settings {
	set := decide.Settings{
		Rise: s.cfg.Rise, Fall: s.cfg.Fall, RampUp: s.cfg.RampUpTime, MaxWeight: s.cfg.MaxWeight,
		DeadBand: s.cfg.DeadBand, Slew: s.cfg.Slew,
		// Each node is polled once an interval: after this time every node that was healthy at the first weight has risen.
		WarmUp: time.Duration(s.cfg.Rise+1) * s.cfg.CheckInterval,
	}
	if s.cfg.Mode == config.ActivePassive {
		set.RampUp = 0 // no other node carries the traffic meanwhile
	}
	return set
}

// remoteSettings returns the settings of nodes that are balancers. Such a weight is the sum of many nodes, which the remote balancer
// ramps up and caps.
func (s *spec) remoteSettings() decide.Settings {
	return decide.Settings{Rise: s.cfg.Rise, Fall: s.cfg.Fall, WarmUp: s.settings().WarmUp}
}

// policy returns the configured rules for the nodes together.
func (s *spec) policy() decide.Policy {
	return decide.Policy{
		Passive: s.cfg.Mode == config.ActivePassive,
		Remove:  s.cfg.OnFailure == config.RemoveFailed,
		AllDown: allDown(s.cfg.AllDown),
		Suspect: decide.SuspectRule{
			Share: s.cfg.SuspectShare,
			Limit: s.cfg.SuspectTime,
			// Nodes are polled at different times: failures of one moment become known within this time.
			Window: time.Duration(s.cfg.Fall)*s.cfg.CheckInterval + s.cfg.CheckTimeout,
		},
	}
}

func allDown(a config.AllDown) decide.AllDown {
	switch a {
	case config.ToPage:
		return decide.Downpage
	case config.HoldLast:
		return decide.HoldLast
	case config.AllIn:
		return decide.AllIn
	}
	return decide.RefuseAll
}

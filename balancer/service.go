package balancer

import (
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// service is a cluster's service of one family in the kernel, without its destinations.
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

// destination is a node in a cluster's service.
func destination(c config.Cluster, n config.Node, weight int) ipvs.Destination {
	d := ipvs.Destination{
		Address: n.Address, Forwarding: forwarding(c.Forwarding), Weight: ipvs.Weight(weight), Upper: n.MaxConnections,
	}
	if d.Upper > 0 {
		d.Lower = c.MinConnections
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

package cluster

import (
	"net/netip"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestServiceFollowsTheConfiguration(t *testing.T) {
	whole := config.Balancing{PersistenceNetmask: 32, PersistenceNetmaskV6: 128}
	sticky := config.Balancing{Persistence: time.Minute, PersistenceNetmask: 24, PersistenceNetmaskV6: 64}
	stickyWhole := whole
	stickyWhole.Persistence = time.Minute
	for _, c := range []struct {
		name      string
		balancing config.Balancing
		family    ipvs.Family
		flags     ipvs.Flags
		timeout   time.Duration
		prefix    uint8
	}{
		{"plain", whole, ipvs.IPv4, 0, 0, 0},
		{"flags", config.Balancing{Fallback: true, HashPort: true, OnePacket: true}, ipvs.IPv4,
			ipvs.SchedFallback | ipvs.SchedPort | ipvs.OnePacket, 0, 0},
		{"sticky, by network", sticky, ipvs.IPv4, ipvs.Persistent, time.Minute, 24},
		{"sticky, by network, IPv6", sticky, ipvs.IPv6, ipvs.Persistent, time.Minute, 64},
		{"sticky, by address", stickyWhole, ipvs.IPv4, ipvs.Persistent, time.Minute, 0},
		{"sticky, by address, IPv6", stickyWhole, ipvs.IPv6, ipvs.Persistent, time.Minute, 0},
	} {
		s := (&spec{config.Cluster{Mark: 7, Scheduler: "mh", Balancing: c.balancing}}).service(c.family)
		if s.Key != (ipvs.Key{Mark: 7, Family: c.family}) || s.Scheduler != "mh" || s.Flags != c.flags || s.Timeout != c.timeout ||
			s.Prefix != c.prefix {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestDestinationHasTheLimitsOfItsNode(t *testing.T) {
	for _, c := range []struct {
		name         string
		min, max     uint32 // the cluster's minimum, the node's maximum
		lower, upper uint32
	}{
		{"none", 0, 0, 0, 0},
		{"the kernel's own minimum", 0, 100, 0, 100},
		{"both", 50, 100, 50, 100},
		{"a node without a limit", 50, 0, 0, 0},
	} {
		k := spec{config.Cluster{Forwarding: config.NAT, Balancing: config.Balancing{MinConnections: c.min}}}
		d := k.destination(&Node{cfg: config.Node{Address: netip.MustParseAddr("10.0.0.1"), MaxConnections: c.max}, weight: 9})
		if d.Lower != c.lower || d.Upper != c.upper || d.Weight != 9 || d.Forwarding != ipvs.Masq ||
			d.Address != netip.MustParseAddr("10.0.0.1") {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

package plan_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// BenchmarkDiff plans services of ten nodes each: into an empty table, with every weight changed, and with nothing to do.
func BenchmarkDiff(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10000} {
		wanted, owned := table(nodes/10, 92), map[ipvs.Mark]bool{}
		for _, s := range wanted {
			owned[s.Mark] = true
		}
		for name, actual := range map[string][]ipvs.Service{"empty": nil, "weights": table(nodes/10, 50), "nothing": table(nodes/10, 92)} {
			want := map[string]int{"empty": nodes + nodes/10, "weights": nodes, "nothing": 0}[name]
			b.Run(fmt.Sprintf("nodes=%d/%s", nodes, name), func(b *testing.B) {
				for b.Loop() {
					if p := plan.Diff(wanted, actual, owned); len(p) != want {
						b.Fatalf("%d operations, want %d", len(p), want)
					}
				}
			})
		}
	}
}

func table(services int, weight ipvs.Weight) []ipvs.Service {
	var t []ipvs.Service
	for i := range services {
		s := ipvs.Service{Key: ipvs.Key{Mark: ipvs.Mark(i + 1), Family: ipvs.IPv4}, Scheduler: "wlc"}
		for n := range 10 {
			s.Destinations = append(s.Destinations, ipvs.Destination{
				Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(n + 1)}), Forwarding: ipvs.Tunnel, Weight: weight,
			})
		}
		t = append(t, s)
	}
	return t
}

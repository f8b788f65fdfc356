//go:build lab

package balancer

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// TestAThousandWeightsAgainstMobyIPVS changes a thousand weights as a reconcile does, and then with one call of moby/ipvs each. It
// compares the best rounds, because other work of the machine lengthens the others. docs/performance.md has the figures.
func TestAThousandWeightsAgainstMobyIPVS(t *testing.T) {
	const clusters, each, rounds = 100, 10, 40
	const nodes = clusters * each
	r := newKernelRig(t)
	library, err := moby.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	owned := map[ipvs.Mark]bool{}
	withWeight := func(weight int) []ipvs.Service {
		var services []ipvs.Service
		for c := range clusters {
			s := ipvs.Service{Key: ipvs.Key{Mark: ipvs.Mark(c + 1), Family: ipvs.IPv4}, Scheduler: "wlc"}
			owned[s.Mark] = true
			for n := range each {
				s.Destinations = append(s.Destinations, ipvs.Destination{
					Address: netip.AddrFrom4([4]byte{10, 0, byte(c), byte(n + 1)}), Forwarding: ipvs.Tunnel, Weight: ipvs.Weight(weight),
				})
			}
			services = append(services, s)
		}
		return services
	}
	have := withWeight(1)
	table := kernel.New(r.table, r.marks).Table
	if table.Apply(t.Context(), plan.Diff(have, nil, owned), owned); table.RejectedExcept(nil) != "" {
		t.Fatal(table.RejectedExcept(nil))
	}
	var ours, theirs []time.Duration
	for round := range rounds {
		want := withWeight(2*round + 2)
		p := plan.Diff(want, have, owned)
		runtime.GC() // nobody pays for the garbage of others
		start := time.Now()
		result := table.Apply(t.Context(), p, owned)
		ours = append(ours, time.Since(start))
		if failed := table.RejectedExcept(nil); len(result.Done) != nodes || failed != "" {
			t.Fatalf("%d of %d changes done, rejected: %s", len(result.Done), nodes, failed)
		}
		have = withWeight(2*round + 3)
		runtime.GC()
		start = time.Now()
		for _, s := range have {
			service := &moby.Service{FWMark: uint32(s.Mark), AddressFamily: unix.AF_INET, SchedName: "wlc", Netmask: 0xffffffff}
			for _, d := range s.Destinations {
				err := library.UpdateDestination(service, &moby.Destination{
					Address: net.IP(d.Address.AsSlice()), AddressFamily: unix.AF_INET, ConnectionFlags: uint32(ipvs.Tunnel),
					Weight: int(d.Weight),
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		theirs = append(theirs, time.Since(start))
	}
	got, err := r.table.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := plan.Diff(have, got, owned); len(left) > 0 {
		t.Errorf("the kernel does not have the library's last round: %s", left[0])
	}
	per := func(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1000/nodes) }
	ourBest, theirBest := slices.Min(ours), slices.Min(theirs)
	slices.Sort(ours)
	slices.Sort(theirs)
	t.Logf("%d weight changes, %d rounds: Apply %s each (median %s), moby/ipvs %s each (median %s), ratio 1 to %.1f (medians 1 to %.1f)",
		nodes, rounds, per(ourBest), per(ours[rounds/2]), per(theirBest), per(theirs[rounds/2]),
		float64(theirBest)/float64(ourBest), float64(theirs[rounds/2])/float64(ours[rounds/2]))
	if 7*ourBest > theirBest { // the goal is a tenth; the clock of a virtual machine is less exact
		t.Errorf("Apply takes %s for each change, more than a seventh of the library's %s", per(ourBest), per(theirBest))
	}
}

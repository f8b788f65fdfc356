// Package plantest checks the properties of plans on any ipvs.Table, in memory or in the kernel.
package plantest

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// CheckPlan fills the empty table at random, plans a random wanted table and applies the plan. The result must be the wanted services
// and the unchanged foreign ones, and a second plan must be empty.
func CheckPlan(t *rapid.T, table ipvs.Table) {
	owned := map[ipvs.Mark]bool{1: true, 2: true, 3: true}
	wanted := drawServices(t, "wanted", 1, 2, 3)
	ours, foreign := drawServices(t, "ours", 1, 2, 3), drawServices(t, "foreign", 4, 5)
	apply(t, table, plan.Diff(slices.Concat(ours, foreign), nil, map[ipvs.Mark]bool{1: true, 2: true, 3: true, 4: true, 5: true}))
	actual := dump(t, table)

	p := plan.Diff(wanted, actual, owned)
	for i, o := range p {
		if !owned[o.Key.Mark] {
			t.Fatalf("the plan changes %s:\n%s", o.Key, p)
		}
		if i > 0 && p[i-1].Kind == plan.DeleteService && o.Kind != plan.DeleteService {
			t.Fatalf("a service is deleted before the last operations:\n%s", p)
		}
	}
	apply(t, table, p)

	got := dump(t, table)
	expected := ipvs.NewMemory()
	expected.Seed(slices.Concat(wanted, foreign)...)
	if diff := cmp.Diff(normalized(dump(t, expected)), normalized(got),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatalf("%s\nplan:\n%s", diff, p)
	}
	if again := plan.Diff(wanted, got, owned); len(again) > 0 {
		t.Fatalf("the second plan is not empty:\n%s", again)
	}
}

func dump(t *rapid.T, table ipvs.Table) []ipvs.Service {
	services, err := table.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return services
}

// apply applies a plan; every operation must succeed.
func apply(t *rapid.T, table ipvs.Table, p plan.Plan) {
	for i, err := range table.Apply(context.Background(), p.Changes()) {
		if err != nil {
			t.Fatalf("%s: %v", p[i], err)
		}
	}
}

// drawServices draws services with distinct keys in random order.
func drawServices(t *rapid.T, label string, marks ...ipvs.Mark) []ipvs.Service {
	var services []ipvs.Service
	for _, m := range marks {
		for _, family := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
			if rapid.Bool().Draw(t, label) {
				services = append(services, drawService(t, ipvs.Key{Mark: m, Family: family}))
			}
		}
	}
	if len(services) == 0 {
		return nil
	}
	return rapid.Permutation(services).Draw(t, label+" order")
}

func drawService(t *rapid.T, k ipvs.Key) ipvs.Service {
	s := ipvs.Service{Key: k, Scheduler: rapid.SampledFrom([]string{"wlc", "wrr", "mh"}).Draw(t, "scheduler")}
	if rapid.Bool().Draw(t, "persistent") {
		s.Flags, s.Timeout = ipvs.Persistent, time.Duration(rapid.IntRange(1, 600).Draw(t, "timeout"))*time.Second
	}
	for n := range 5 {
		if !rapid.Bool().Draw(t, "node") {
			continue
		}
		d := ipvs.Destination{
			Address:    netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)}),
			Forwarding: rapid.SampledFrom([]ipvs.Forwarding{ipvs.Tunnel, ipvs.Route}).Draw(t, "forwarding"),
			Weight:     ipvs.Weight(rapid.IntRange(0, 3).Draw(t, "weight")),
			Upper:      uint32(rapid.IntRange(0, 1).Draw(t, "upper")),
		}
		if k.Family == ipvs.IPv6 {
			d.Address = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n + 1)})
		}
		s.Destinations = append(s.Destinations, d)
	}
	return s
}

// normalized replaces empty slices by nil, so that services compare.
func normalized(services []ipvs.Service) []ipvs.Service {
	if len(services) == 0 {
		return nil
	}
	for i, s := range services {
		if len(s.Destinations) == 0 {
			services[i].Destinations = nil
		}
	}
	return services
}

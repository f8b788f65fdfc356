// Package plantest holds what must be true of a plan on any table, as a property for rapid, so that it is tried in memory and on the kernel alike.
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

// MakesTheWantedTable fills the empty table and puts a plan to it: applied, it gives the wanted services whatever was there; what is not
// owned stays; a second plan is empty.
func MakesTheWantedTable(t *rapid.T, table ipvs.Table) {
	owned := map[ipvs.Mark]bool{1: true, 2: true, 3: true}
	wanted := drawServices(t, "wanted", 1, 2, 3)
	ours, foreign := drawServices(t, "ours", 1, 2, 3), drawServices(t, "foreign", 4, 5)
	apply(t, table, plan.Diff(slices.Concat(ours, foreign), nil, map[ipvs.Mark]bool{1: true, 2: true, 3: true, 4: true, 5: true}))
	actual := dump(t, table)

	p := plan.Diff(wanted, actual, owned)
	for i, o := range p {
		if !owned[o.Key.Mark] {
			t.Fatalf("the plan touches %s:\n%s", o.Key, p)
		}
		if i > 0 && p[i-1].Kind == plan.DeleteService && o.Kind != plan.DeleteService {
			t.Fatalf("a service goes before something else is done:\n%s", p)
		}
	}
	apply(t, table, p)

	got := dump(t, table)
	expected := ipvs.NewMemory()
	expected.Seed(slices.Concat(wanted, foreign)...)
	if diff := cmp.Diff(plainly(dump(t, expected)), plainly(got), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Fatalf("%s\nplan:\n%s", diff, p)
	}
	if again := plan.Diff(wanted, got, owned); len(again) > 0 {
		t.Fatalf("a second plan is not empty:\n%s", again)
	}
}

func dump(t *rapid.T, table ipvs.Table) []ipvs.Service {
	services, err := table.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return services
}

// apply does to a table what the balancer does to the kernel.
func apply(t *rapid.T, table ipvs.Table, p plan.Plan) {
	for i, err := range table.Apply(context.Background(), p.Changes()) {
		if err != nil {
			t.Fatalf("%s: %v", p[i], err)
		}
	}
}

// drawServices draws services of some of the marks, each key once, in any order.
func drawServices(t *rapid.T, label string, from ...ipvs.Mark) []ipvs.Service {
	var services []ipvs.Service
	for _, m := range from {
		for _, family := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
			if rapid.Bool().Draw(t, label) {
				services = append(services, drawService(t, ipvs.Key{Mark: m, Family: family}))
			}
		}
	}
	if len(services) == 0 {
		return nil
	}
	return rapid.Permutation(services).Draw(t, label+" in order")
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

// plainly gives the services with nil for none of them and for no destinations, so that they compare.
func plainly(services []ipvs.Service) []ipvs.Service {
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

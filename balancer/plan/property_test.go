package plan

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// apply does to a table what the balancer does to the kernel.
func apply(t *rapid.T, table ipvs.Table, p Plan) {
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

// Applying a plan gives the wanted table whatever was there; what is not owned stays; a second plan is empty.
func TestPropertyPlanMakesTheWantedTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		owned := marks(1, 2, 3)
		wanted := drawServices(t, "wanted", 1, 2, 3)
		ours, foreign := drawServices(t, "ours", 1, 2, 3), drawServices(t, "foreign", 4, 5)
		table := ipvs.NewMemory()
		table.Seed(slices.Concat(ours, foreign)...)
		actual, err := table.Dump(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := len(table.Calls())

		p := Make(wanted, actual, owned)
		apply(t, table, p)

		for _, c := range table.Calls()[before:] {
			if !owned[c.Key.Mark] {
				t.Fatalf("the plan touches %s:\n%s", c.Key, p)
			}
		}
		for i, o := range p {
			if i > 0 && p[i-1].Kind == DeleteService && o.Kind != DeleteService {
				t.Fatalf("a service goes before something else is done:\n%s", p)
			}
		}
		got, err := table.Dump(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := ipvs.NewMemory()
		want.Seed(slices.Concat(wanted, foreign)...)
		expected, err := want.Dump(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plainly(expected), plainly(got), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Fatalf("%s\nplan:\n%s", diff, p)
		}
		if again := Make(wanted, got, owned); len(again) > 0 {
			t.Fatalf("a second plan is not empty:\n%s", again)
		}
	})
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

// The marks' plan is empty exactly where the rules are the same, and names each rule that differs once.
func TestPropertyMarksNameEveryDifference(t *testing.T) {
	drawRules := func(t *rapid.T, label string) []mark.Rule {
		var rules []mark.Rule
		for port := range uint16(6) {
			if m := rapid.IntRange(0, 2).Draw(t, label); m > 0 {
				rules = append(rules, mark.Rule{Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Protocol: "tcp", Port: port + 1, Mark: ipvs.Mark(m)})
			}
		}
		return rules
	}
	rapid.Check(t, func(t *rapid.T) {
		wanted, actual := drawRules(t, "wanted"), drawRules(t, "actual")
		state := map[uint16]ipvs.Mark{}
		for _, r := range actual {
			state[r.Port] = r.Mark
		}
		ops := Marks(wanted, actual)
		for _, o := range ops {
			if o.Old == o.New || state[o.Rule.Port] != o.Old {
				t.Fatalf("%s: the rule has mark %d", o, state[o.Rule.Port])
			}
			state[o.Rule.Port] = o.New
		}
		for port, m := range state {
			want := ipvs.Mark(0)
			for _, r := range wanted {
				if r.Port == port {
					want = r.Mark
				}
			}
			if m != want {
				t.Fatalf("port %d ends up with mark %d, want %d: %v", port, m, want, ops)
			}
		}
		if same := slices.Equal(wanted, actual); same != (len(ops) == 0) {
			t.Fatalf("same is %v, operations are %v", same, ops)
		}
	})
}

package plan_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/balancer/plan/plantest"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

func TestPropertyPlanYieldsTheWantedTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { plantest.CheckPlan(t, ipvs.NewMemory()) })
}

// The plan for marks is empty exactly when the rules are the same, and lists each difference once.
func TestPropertyMarkPlanListsEveryDifference(t *testing.T) {
	drawRules := func(t *rapid.T, label string) []mark.Rule {
		var rules []mark.Rule
		for port := range uint16(6) {
			if m := rapid.IntRange(0, 2).Draw(t, label); m > 0 {
				rules = append(rules, mark.Rule{Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Protocol: "tcp", Port: port + 1,
					Mark: ipvs.Mark(m)})
			}
		}
		return rules
	}
	rapid.Check(t, func(t *rapid.T) {
		wanted, actual := drawRules(t, "wanted"), drawRules(t, "actual")
		marks := map[uint16]ipvs.Mark{}
		for _, r := range actual {
			marks[r.Port] = r.Mark
		}
		ops := plan.DiffMarks(wanted, actual)
		for _, o := range ops {
			if o.Old == o.New || marks[o.Rule.Port] != o.Old {
				t.Fatalf("%s: the rule has mark %d", o, marks[o.Rule.Port])
			}
			marks[o.Rule.Port] = o.New
		}
		for port, m := range marks {
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

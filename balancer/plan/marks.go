package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// MarkOp is one change to the marking rules. All of them are one transaction: they are for reading.
type MarkOp struct {
	Rule mark.Rule // what it is about
	Old  ipvs.Mark // the mark it has now; 0 for a new rule
	New  ipvs.Mark // the mark it gets; 0 for a rule that goes
}

// String says it in a line, such as "mark 7: add tcp 204.109.13.7:443 on eth10".
func (o MarkOp) String() string {
	where := fmt.Sprintf("%s %s", o.Rule.Protocol, netip.AddrPortFrom(o.Rule.Address, o.Rule.Port))
	if o.Rule.Interface != "" {
		where += " on " + o.Rule.Interface
	}
	switch {
	case o.Old == 0:
		return fmt.Sprintf("mark %d: add %s", o.New, where)
	case o.New == 0:
		return fmt.Sprintf("mark %d: remove %s", o.Old, where)
	}
	return fmt.Sprintf("mark %d → %d: %s", o.Old, o.New, where)
}

// DiffMarks lists what turns the actual marking rules into the wanted ones.
func DiffMarks(wanted, actual []mark.Rule) []MarkOp {
	old := map[mark.Rule]ipvs.Mark{}
	for _, r := range actual {
		old[place(r)] = r.Mark
	}
	var ops []MarkOp
	kept := map[mark.Rule]bool{}
	for _, r := range wanted {
		p := place(r)
		if kept[p] {
			continue
		}
		kept[p] = true
		if old[p] != r.Mark {
			ops = append(ops, MarkOp{Rule: p, Old: old[p], New: r.Mark})
		}
	}
	for _, r := range actual {
		if p := place(r); !kept[p] {
			kept[p] = true
			ops = append(ops, MarkOp{Rule: p, Old: r.Mark})
		}
	}
	slices.SortFunc(ops, func(a, b MarkOp) int {
		return cmp.Or(cmp.Compare(max(a.New, a.Old), max(b.New, b.Old)), a.Rule.Address.Compare(b.Rule.Address),
			cmp.Compare(a.Rule.Protocol, b.Rule.Protocol), cmp.Compare(a.Rule.Port, b.Rule.Port), cmp.Compare(a.Rule.Interface, b.Rule.Interface))
	})
	return ops
}

// place is the rule without its mark: what it matches.
func place(r mark.Rule) mark.Rule {
	r.Address, r.Mark = r.Address.Unmap(), 0
	return r
}

package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// MarkOp is one change to the marking rules. It is for display: the rules are applied in one transaction.
type MarkOp struct {
	Rule mark.Rule // without its mark
	Old  ipvs.Mark // the current mark; 0 for a new rule
	New  ipvs.Mark // the wanted mark; 0 for a removed rule
}

// String returns one line, such as "mark 7: add tcp 204.109.13.7:443 on eth10".
func (o MarkOp) String() string {
	match := fmt.Sprintf("%s %s", o.Rule.Protocol, netip.AddrPortFrom(o.Rule.Address, o.Rule.Port))
	if o.Rule.Interface != "" {
		match += " on " + o.Rule.Interface
	}
	switch {
	case o.Old == 0:
		return fmt.Sprintf("mark %d: add %s", o.New, match)
	case o.New == 0:
		return fmt.Sprintf("mark %d: remove %s", o.Old, match)
	}
	return fmt.Sprintf("mark %d → %d: %s", o.Old, o.New, match)
}

// DiffMarks returns the operations that turn the actual marking rules into the wanted ones.
func DiffMarks(wanted, actual []mark.Rule) []MarkOp {
	old := map[mark.Rule]ipvs.Mark{}
	for _, r := range actual {
		old[withoutMark(r)] = r.Mark
	}
	var ops []MarkOp
	seen := map[mark.Rule]bool{}
	for _, r := range wanted {
		match := withoutMark(r)
		if seen[match] {
			continue
		}
		seen[match] = true
		if old[match] != r.Mark {
			ops = append(ops, MarkOp{Rule: match, Old: old[match], New: r.Mark})
		}
	}
	for _, r := range actual {
		if match := withoutMark(r); !seen[match] {
			seen[match] = true
			ops = append(ops, MarkOp{Rule: match, Old: r.Mark})
		}
	}
	slices.SortFunc(ops, func(a, b MarkOp) int {
		return cmp.Or(cmp.Compare(max(a.New, a.Old), max(b.New, b.Old)), a.Rule.Address.Compare(b.Rule.Address),
			cmp.Compare(a.Rule.Protocol, b.Rule.Protocol), cmp.Compare(a.Rule.Port, b.Rule.Port),
			cmp.Compare(a.Rule.Interface, b.Rule.Interface))
	})
	return ops
}

// withoutMark returns what the rule matches, in canonical form.
func withoutMark(r mark.Rule) mark.Rule {
	r.Address, r.Mark = r.Address.Unmap(), 0
	return r
}

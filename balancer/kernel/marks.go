package kernel

import (
	"context"
	"time"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/mark"
)

// Marks reconciles the nftables rules that give packets their mark.
type Marks struct {
	rules  mark.Table
	set    []mark.Rule // as lb last set them: what differs at the next read, another program has changed
	hasSet bool        // set is known
	lastAt time.Time   // the last Reconcile
	err    string      // of the last Reconcile; "": none
	errors int
}

// Reconcile makes the marking rules exactly the wanted ones, in one transaction, and returns what it changed.
func (m *Marks) Reconcile(ctx context.Context, now time.Time, wanted []mark.Rule) []Change {
	m.lastAt = now
	changes, err := m.reconcile(ctx, wanted)
	m.err = text(err)
	if err != nil {
		m.errors++
		return nil
	}
	m.set, m.hasSet = wanted, true
	return changes
}

func (m *Marks) reconcile(ctx context.Context, wanted []mark.Rule) ([]Change, error) {
	actual, err := m.rules.List(ctx)
	if err != nil {
		return nil, err
	}
	changes := m.diff(wanted, actual)
	if len(wanted)+len(actual) == 0 {
		return nil, nil // no table is made for no rules
	}
	// Set is called even if the rules are right: what leads packets to them may be damaged.
	writes := m.rules.Writes()
	if err := m.rules.Set(ctx, wanted); err != nil {
		return nil, err
	}
	if len(changes) == 0 && m.hasSet && m.rules.Writes() != writes {
		changes = []Change{{Resource: MarkingRules, Text: "restore the nftables table inet lb", Drift: true}}
	}
	return changes, nil
}

// diff lists what turns the actual rules into the wanted ones.
func (m *Marks) diff(wanted, actual []mark.Rule) []Change {
	drift := map[string]bool{}
	if m.hasSet {
		for _, c := range markChanges(m.set, actual) {
			drift[c.Text] = true
		}
	}
	changes := markChanges(wanted, actual)
	for i := range changes {
		changes[i].Drift = drift[changes[i].Text]
	}
	return changes
}

func markChanges(wanted, actual []mark.Rule) []Change {
	var changes []Change
	for _, op := range plan.DiffMarks(wanted, actual) {
		changes = append(changes, Change{Resource: MarkingRules, Text: op.String(), Mark: max(op.New, op.Old)})
	}
	return changes
}

// Due reports whether the rules should be reconciled again: when the last Reconcile is a period ago, or failed.
func (m *Marks) Due(now time.Time, period time.Duration) bool {
	return m.err != "" || now.Sub(m.lastAt) >= period
}

// Err is the error of the last Reconcile; "" if it succeeded.
func (m *Marks) Err() string { return m.err }

// Right reports whether the rules are the wanted ones, as far as lb knows.
func (m *Marks) Right() bool { return m.hasSet && m.err == "" }

// onto returns a reconciler of rules in memory that knows how lb last set the rules.
func (m *Marks) onto(rules mark.Table) *Marks {
	return &Marks{rules: rules, set: m.set, hasSet: m.hasSet}
}

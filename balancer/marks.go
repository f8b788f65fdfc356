package balancer

import (
	"context"
	"log/slog"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// checkMarks looks at the marking rules every few cycles, and in each one while something is wrong with them.
func (e *engine) checkMarks(ctx context.Context) {
	if e.markWait--; e.markWait > 0 {
		return
	}
	e.marksSeen = time.Now()
	if e.setMarks(ctx) {
		e.markWait = markCycles
	}
}

// setMarks makes the marking rules those of the config, in one transaction. It tells whether they are.
func (e *engine) setMarks(ctx context.Context) bool {
	clusters := make([]config.Cluster, len(e.clusters))
	for i, c := range e.clusters {
		clusters[i] = c.cfg
	}
	wanted := markRules(clusters)
	actual, err := e.marks.List(ctx)
	var drift map[string]bool
	if err == nil {
		drift = map[string]bool{}
		if e.hasMarked {
			for _, op := range plan.DiffMarks(e.marked, actual) {
				drift[op.String()] = true
			}
		}
		if len(wanted)+len(actual) > 0 { // a table without rules is not made
			err = e.marks.Set(ctx, wanted) // also where the rules are right: what leads packets to them may not be
		}
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
		e.failures++
	}
	e.say("the marking rules", nil, &e.markTrouble, trouble)
	if err != nil {
		return false
	}
	for _, op := range plan.DiffMarks(wanted, actual) {
		ev, level := event.Now(event.MarksChanged, "marking rules changed"), slog.LevelInfo
		if drift[op.String()] {
			ev, level = event.Now(event.DriftRepaired, "drift repaired: somebody else changed the marking rules"), slog.LevelWarn
			e.meters.drift.Inc()
		}
		ev.Change, ev.Mark = op.String(), uint32(max(op.New, op.Old))
		e.tell(level, ev)
	}
	e.marked, e.hasMarked = wanted, true
	return true
}

// markRules are the marking rules of all clusters, running or not: of each port of a virtual IP to the cluster's mark and, where packets
// come from other data centres, by what these come in to that of its relay.
func markRules(clusters []config.Cluster) []mark.Rule {
	var rules []mark.Rule
	for _, c := range clusters {
		for _, v := range c.VIPs {
			for _, port := range v.Ports {
				r := mark.Rule{Address: v.Address, Interface: v.Interface, Protocol: v.Protocol, Port: port, Mark: ipvs.Mark(c.Mark)}
				rules = append(rules, r)
				if !c.Relay.Enabled {
					continue
				}
				r.Mark = ipvs.Mark(c.Relay.Mark)
				for _, r.Interface = range c.Relay.InterfacesFor(v.Address) {
					rules = append(rules, r)
				}
			}
		}
	}
	return rules
}

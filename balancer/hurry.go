package balancer

import (
	"context"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// hurry has the kernel edit the weights that readings have changed before the cycle looks at its table, for to read that takes longer than all else
// from a node's word to its weight. It plans on the table as last read, so it may be wrong about what somebody else did since: what is not there any
// more the kernel refuses, and the look that follows finds the rest.
func (e *engine) hurry(ctx context.Context, now time.Time) {
	var hurried []*cluster
	var p plan.Plan
	owned := map[ipvs.Mark]bool{}
	for _, c := range e.clusters {
		if !c.running || !c.stale {
			continue
		}
		c.pass(now)
		hurried = append(hurried, c)
		for _, m := range c.marks() {
			owned[m] = true
		}
		p = append(p, c.edits(now, e.actual, owned)...)
	}
	done := e.edit(ctx, p)
	if len(done) == 0 {
		return
	}
	at := time.Now()
	drift := e.drift(owned)
	for _, op := range done {
		put(e.actual, op)
		put(e.left, op) // which may be the same
	}
	e.tellOutcome(at, hurried)
	e.report(at, done, drift)
}

// edits are what has to be done to the nodes of the config that a table has; none where more has to be done to the cluster, for what comes in has to come
// before what loses weight, and what goes out is judged by the connections that it has now.
func (c *cluster) edits(now time.Time, table []ipvs.Service, owned map[ipvs.Mark]bool) plan.Plan {
	wanted := c.services(now, table)
	var have []ipvs.Service
	for _, s := range wanted {
		if at, has := slices.BinarySearchFunc(table, s.Key, byKey); has {
			have = append(have, table[at])
		}
	}
	p := plan.Diff(wanted, have, owned)
	if slices.ContainsFunc(p, func(op plan.Op) bool {
		return op.Kind != plan.PutDestination || !op.Edit || op.Destination.Port != 0 || c.node(op.Destination.Address) == nil
	}) {
		return nil
	}
	return p
}

// edit has the kernel edit nodes, and gives what it did. What it refuses is for the rest of the cycle.
func (e *engine) edit(ctx context.Context, p plan.Plan) (done plan.Plan) {
	if len(p) == 0 {
		return nil
	}
	changes := p.Changes()
	for i := range changes {
		changes[i].MustExist = true
	}
	for i, err := range e.table.Apply(ctx, changes) {
		if err == nil {
			done = append(done, p[i])
		}
	}
	return done
}

// put makes a node of a table what an operation made it in the kernel.
func put(table []ipvs.Service, op plan.Op) {
	at, has := slices.BinarySearchFunc(table, op.Key, byKey)
	if !has {
		return
	}
	for i := range table[at].Destinations {
		if d := &table[at].Destinations[i]; d.Address == op.Destination.Address && d.Port == op.Destination.Port {
			counted := *d
			*d = op.Destination
			d.ActiveConns, d.InactiveConns, d.Stats = counted.ActiveConns, counted.InactiveConns, counted.Stats
		}
	}
}

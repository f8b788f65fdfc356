package balancer

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// planned tells what has become of the kernel's tables in the rehearsal.
func (r *rehearsal) planned(ctx context.Context) (api.Plan, error) {
	p := api.NewPlan()
	ops, rules, err := r.difference(ctx)
	if err != nil {
		return p, err
	}
	for _, op := range ops {
		if op.Kind != plan.DeleteService {
			p.Changes = append(p.Changes, r.change(op))
		}
	}
	for _, op := range rules {
		p.Changes = append(p.Changes, api.PlanChange{Kind: event.MarksChanged, Change: op.String(), Mark: uint32(max(op.New, op.Old))})
	}
	running, err := r.engine.table.Daemons(ctx)
	if err != nil {
		return p, err
	}
	if !slices.Equal(running, r.daemons) {
		for _, s := range syncSteps(r.sync, r.daemons) {
			p.Changes = append(p.Changes, api.PlanChange{Kind: event.SyncChanged, Change: s.String()})
		}
	}
	for _, op := range ops {
		if op.Kind == plan.DeleteService {
			p.Changes = append(p.Changes, r.change(op))
		}
		p.Connections = append(p.Connections, r.touched(op)...)
	}
	p.Notes = append(p.Notes, r.unknown(ops)...)
	return p, nil
}

// difference is what turns the kernel's tables into those of the rehearsal.
func (r *rehearsal) difference(ctx context.Context) (plan.Plan, []plan.MarkOp, error) {
	services, err := r.engine.table.Dump(ctx)
	if err != nil {
		return nil, nil, err
	}
	rules, err := r.marks.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := map[ipvs.Mark]bool{}
	for _, s := range slices.Concat(services, r.table) {
		all[s.Mark] = true
	}
	return plan.Diff(services, r.table, all), plan.DiffMarks(rules, r.rules), nil
}

// change describes an operation as the event that it would be.
func (r *rehearsal) change(op plan.Op) api.PlanChange {
	ev, _ := r.changed(op)
	c := api.PlanChange{Kind: ev.Kind, Change: ev.Change, Cluster: ev.Cluster, Mark: ev.Mark, Node: ev.Node, Cause: ev.Cause}
	if c.Cluster == "" {
		c.Cluster = r.had[op.Key.Mark]
	}
	return c
}

// touched are the connections of what an operation takes out of rotation.
func (r *rehearsal) touched(op plan.Op) []api.Affected {
	if op.Kind == plan.PutService || op.Kind == plan.PutDestination && (op.Destination.Weight > 0 || op.Old.Weight == 0) {
		return nil
	}
	t := api.Affected{Mark: uint32(op.Key.Mark), Cluster: r.had[op.Key.Mark], Fate: api.Break}
	if c := r.running(op.Key.Mark); c != nil {
		t.Cluster = c.cfg.Name
		if op.Kind == plan.PutDestination {
			t.Fate = api.Continue
			if n := c.node(op.Destination.Address); n == nil || op.Destination.Port != 0 {
				t.Limit = c.cfg.DrainTimeout.String()
			}
		}
	}
	var all []api.Affected
	at, _ := slices.BinarySearchFunc(r.table, op.Key, func(s ipvs.Service, k ipvs.Key) int {
		return cmp.Or(cmp.Compare(s.Mark, k.Mark), cmp.Compare(s.Family, k.Family))
	})
	for _, d := range r.table[at].Destinations {
		if op.Kind == plan.DeleteService || d.Address == op.Destination.Address && d.Port == op.Destination.Port {
			t.Node, t.ActiveConns, t.InactiveConns = plan.NodeName(d), d.ActiveConns, d.InactiveConns
			all = append(all, t)
		}
	}
	return all
}

// unknown says of what is put into the table what nobody knows yet.
func (r *rehearsal) unknown(ops plan.Plan) []string {
	var notes []string
	added := map[plan.Object]bool{}
	for _, op := range ops {
		if op.Kind == plan.PutDestination && !op.Edit {
			added[op.Object()] = true
		}
	}
	for _, c := range r.clusters {
		for _, n := range c.nodes {
			in := plan.Object{Key: ipvs.Key{Mark: c.mark(), Family: ipvs.FamilyOf(n.cfg.Address)}, Node: netip.AddrPortFrom(n.cfg.Address, 0)}
			if added[in] && !n.state.HasReading {
				notes = append(notes, fmt.Sprintf("cluster %s, node %s: its weight follows its first answer", c.cfg.Name, n.cfg.Address))
			}
		}
		for _, s := range c.sites {
			if c.running && !s.seen {
				notes = append(notes, fmt.Sprintf("cluster %s: what %s lists follows its first answer", c.cfg.Name, s.cfg.At))
			}
		}
		if _, page := r.pages[c.cfg.Name]; page && c.running && c.verdict.Downpage && c.served == nil {
			notes = append(notes, fmt.Sprintf("cluster %s: its downpage comes in, at a port that the kernel picks", c.cfg.Name))
		}
	}
	return notes
}

package balancer

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// Planned is what would change, as GET and POST /plan tell it in JSON.
type Planned struct {
	Refused     string          `json:"refused"`     // why a reload would change nothing; "" when it would not be refused
	Forcible    bool            `json:"forcible"`    // the refusal is the guard's: Changes are those of `lb ctl reload --force`
	Changes     []PlannedChange `json:"changes"`     // of the kernel's tables
	Connections []Touched       `json:"connections"` // that the changes touch
	Notes       []string        `json:"notes"`       // what cannot be known yet, a sentence each
}

// PlannedChange is one change of the kernel's tables.
type PlannedChange struct {
	Kind    event.Kind `json:"kind"`   // of the event that it would be
	Change  string     `json:"change"` // as the log would say it
	Cluster string     `json:"cluster,omitempty"`
	Mark    uint32     `json:"mark,omitempty"`
	Node    string     `json:"node,omitempty"`
	Cause   string     `json:"cause,omitempty"`
}

// Touched are the connections of a node that goes to weight 0 or leaves, alone or with its service.
type Touched struct {
	Cluster       string `json:"cluster,omitempty"`
	Mark          uint32 `json:"mark"`
	Node          string `json:"node"`
	ActiveConns   int    `json:"active_connections"`
	InactiveConns int    `json:"inactive_connections"`
	Fate          Fate   `json:"fate"`
	Limit         string `json:"limit,omitempty"` // for how long they go on at most; "": until they end
}

// Fate is what becomes of connections.
type Fate string

// The fates.
const (
	GoOn     Fate = "go_on"     // and no new ones come
	BreakOff Fate = "break_off" // with the node, or with its service
)

// refused is the plan of a reload that would change nothing, whether it is forced or not.
func refused(err error) Planned {
	return Planned{Refused: strings.ReplaceAll(err.Error(), "\n", "; "), Changes: []PlannedChange{}, Connections: []Touched{}, Notes: []string{}}
}

// planned tells what has become of the kernel's tables in the rehearsal.
func (r *rehearsal) planned(ctx context.Context) (Planned, error) {
	p := Planned{Changes: []PlannedChange{}, Connections: []Touched{}, Notes: []string{}}
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
		p.Changes = append(p.Changes, PlannedChange{Kind: event.MarksChanged, Change: op.String(), Mark: uint32(max(op.New, op.Old))})
	}
	running, err := r.engine.table.Daemons(ctx)
	if err != nil {
		return p, err
	}
	if !slices.Equal(running, r.daemons) {
		for _, s := range syncSteps(r.sync, r.daemons) {
			p.Changes = append(p.Changes, PlannedChange{Kind: event.SyncChanged, Change: s.String()})
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
func (r *rehearsal) change(op plan.Op) PlannedChange {
	ev, _ := r.changed(op)
	c := PlannedChange{Kind: ev.Kind, Change: ev.Change, Cluster: ev.Cluster, Mark: ev.Mark, Node: ev.Node, Cause: ev.Cause}
	if c.Cluster == "" {
		c.Cluster = r.had[op.Key.Mark]
	}
	return c
}

// touched are the connections of what an operation takes out of rotation.
func (r *rehearsal) touched(op plan.Op) []Touched {
	if op.Kind == plan.PutService || op.Kind == plan.PutDestination && (op.Destination.Weight > 0 || op.Old.Weight == 0) {
		return nil
	}
	t := Touched{Mark: uint32(op.Key.Mark), Cluster: r.had[op.Key.Mark], Fate: BreakOff}
	if c := r.running(op.Key.Mark); c != nil {
		t.Cluster = c.cfg.Name
		if op.Kind == plan.PutDestination {
			t.Fate = GoOn
			if n := c.node(op.Destination.Address); n == nil || op.Destination.Port != 0 {
				t.Limit = c.cfg.DrainTimeout.String()
			}
		}
	}
	var all []Touched
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

// String gives a line for each change, then what it does to connections.
func (p Planned) String() string {
	var b strings.Builder
	switch {
	case p.Forcible:
		fmt.Fprintf(&b, "a reload would be refused: %s\nforced, it would do:\n", p.Refused)
	case p.Refused != "":
		return "a reload would be refused: " + p.Refused + "\n"
	}
	for _, c := range p.Changes {
		b.WriteString(c.Change + "\n")
	}
	if len(p.Changes) == 0 {
		b.WriteString("nothing to change\n")
	}
	for _, t := range p.Connections {
		fmt.Fprintf(&b, "connections: %s\n", t)
	}
	for _, n := range p.Notes {
		b.WriteString("note: " + n + "\n")
	}
	return b.String()
}

// String says it in a line, such as "webapp, mark 7, node 10.0.0.2: 12 active, 3 inactive; they go on".
func (t Touched) String() string {
	where := fmt.Sprintf("mark %d, node %s: ", t.Mark, t.Node)
	if t.Cluster != "" {
		where = t.Cluster + ", " + where
	}
	if t.ActiveConns+t.InactiveConns == 0 {
		return where + "none"
	}
	where += fmt.Sprintf("%d active, %d inactive; ", t.ActiveConns, t.InactiveConns)
	switch {
	case t.Fate == BreakOff:
		return where + "they break off"
	case t.Limit != "":
		return where + "they go on for " + t.Limit + " at most"
	}
	return where + "they go on"
}

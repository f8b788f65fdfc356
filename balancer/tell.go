package balancer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/plan"
)

// tell logs what happened and keeps it as an event, so that the two cannot differ.
func (e *engine) tell(level slog.Level, ev event.Event, further ...slog.Attr) {
	e.log.LogAttrs(context.Background(), level, ev.Text, append(ev.Attrs(), further...)...)
	e.events.Add(ev)
}

// about makes an event about a cluster.
func (c *cluster) about(kind event.Kind, text string) event.Event {
	ev := event.Now(kind, text)
	ev.Cluster, ev.Mark = c.cfg.Name, c.cfg.Mark
	return ev
}

// tally tells how the cluster's nodes are: each by itself, for what a policy makes of nodes that are all down is not theirs.
func (c *cluster) tally() *event.Tally {
	t := &event.Tally{Running: c.running, All: len(c.nodes)}
	for _, n := range c.nodes {
		t.Weight += n.weight
		if word := n.state.Name(); n.own.weight > 0 || word != "down" && word != "unknown" {
			t.Up++
		}
	}
	return t
}

// tellOutcome tells what has changed about clusters and their nodes since it was told last. at is when the kernel had what follows from that.
func (e *engine) tellOutcome(at time.Time, clusters []*cluster) {
	for _, c := range clusters {
		e.sayPlight(at, c)
		for _, n := range c.nodes {
			e.tellState(at, c, n)
		}
	}
}

// tellState tells when a node has come to be in another state. The log has what follows from that in the kernel, so it has this only
// where everything is wanted.
func (e *engine) tellState(at time.Time, c *cluster, n *node) {
	was, is := n.told, n.state.Name()
	if was == "" {
		was = "unknown"
	}
	n.told = is
	if was == is {
		return
	}
	ev := c.about(event.NodeKind(is), "node is "+is)
	ev.Time, ev.Node, ev.Old, ev.New, ev.Cause, ev.Nodes = at, n.cfg.Address.String(), was, is, n.why(), c.tally()
	e.tell(slog.LevelDebug, ev)
}

// report tells what the kernel had at a time, and why.
func (e *engine) report(at time.Time, done plan.Plan, drift map[plan.Object]bool) {
	for _, op := range done {
		e.meters.operations.WithLabelValues(operation(op.Kind).label()).Inc()
		ev, level := e.changed(op)
		ev.Time = at
		if drift[op.Object()] {
			ev.Kind, ev.Text, level = event.DriftRepaired, "drift repaired: somebody else changed the kernel's table", slog.LevelWarn
			e.meters.drift.Inc()
		}
		e.tell(level, ev)
	}
}

// changed makes the event of one operation.
func (e *engine) changed(op plan.Op) (event.Event, slog.Level) {
	ev := event.Now(kindOf(op), "kernel table changed")
	ev.Change, ev.Mark = op.String(), uint32(op.Key.Mark)
	level := slog.LevelInfo
	if r, ok := e.retired[op.Key.Mark]; ok {
		ev.Cause = r.cause
	}
	ofNode := op.Kind == plan.PutDestination || op.Kind == plan.DeleteDestination
	if ofNode {
		ev.Node = plan.NodeName(op.Destination)
		if op.Edit || op.Kind == plan.DeleteDestination {
			ev.Old = fmt.Sprint(op.Old.Weight)
		}
		if op.Kind == plan.PutDestination {
			ev.New = fmt.Sprint(op.Destination.Weight)
		}
	}
	c := e.running(op.Key.Mark)
	if c == nil {
		return ev, level
	}
	ev.Cluster = c.cfg.Name
	switch n := c.node(op.Destination.Address); {
	case !ofNode:
	case n != nil:
		ev.Cause = n.why()
		if n.state.Name() == "ramping" && op.Edit {
			level = slog.LevelDebug // one line a cycle would say nothing new
		}
	case c.isPage(op.Destination):
		ev.Cause = c.pageCause()
	default:
		ev.Cause = c.stranger(op.Destination.Address)
		if ev.Kind == event.Weight {
			ev.Kind = event.NodeLeaving
		}
	}
	return ev, level
}

// kindOf is what an operation does, in the word of an event.
func kindOf(op plan.Op) event.Kind {
	switch op.Kind {
	case plan.PutService:
		if op.Edit {
			return event.ServiceChanged
		}
		return event.ServiceAdded
	case plan.PutDestination:
		switch {
		case !op.Edit:
			return event.NodeAdded
		case op.Old.Weight != op.Destination.Weight:
			return event.Weight
		}
		return event.NodeChanged
	case plan.DeleteDestination:
		return event.NodeRemoved
	}
	return event.ServiceRemoved
}

// say keeps the newest trouble with the kernel and tells of it when it is new, or over. c is whose it is; nil: of more than one cluster.
func (e *engine) say(what string, c *cluster, kept *string, trouble string) {
	was := *kept
	*kept = trouble
	if trouble == was {
		return
	}
	ev, level := event.Now(event.KernelObeys, "the kernel obeys again: "+what), slog.LevelInfo
	if trouble != "" {
		ev, level = event.Now(event.KernelRefuses, "the kernel refuses: "+what+"; tried again in the next cycle"), slog.LevelError
		ev.Err = trouble
	}
	if c != nil {
		ev.Cluster, ev.Mark = c.cfg.Name, c.cfg.Mark
	}
	e.tell(level, ev)
}

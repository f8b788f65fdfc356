package cluster

import (
	"cmp"
	"fmt"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/plan"
)

// condition is the state of a running cluster as a whole.
type condition struct {
	allDown bool
	suspect bool
}

// String is the condition as events name it.
func (c condition) String() string {
	switch {
	case c.allDown:
		return "all_down"
	case c.suspect:
		return "suspect"
	}
	return "ok"
}

// ReportChanges reports which clusters and nodes have changed their state since they were last reported. at is when the kernel learned of
// it.
func (m *Model) ReportChanges(at time.Time) {
	for _, c := range m.clusters {
		if r, news := conditionReport(at, c); news {
			m.emit(r)
		}
		for _, n := range c.nodes {
			if is := n.state.Name(); is != n.reported {
				was := cmp.Or(n.reported, "unknown")
				n.reported = is
				if was != is {
					m.emit(stateReport(at, c, n, was))
				}
			}
		}
	}
}

// conditionReport returns the report of a running cluster that has entered or left an abnormal condition since the last call.
func conditionReport(at time.Time, c *Cluster) (r event.Report, news bool) {
	now := condition{c.running && c.verdict.AllDown, c.running && !c.group.SuspectSince.IsZero()}
	was := c.condition
	c.condition = now
	if now == was || now == (condition{}) && !c.running {
		return r, false
	}
	r = c.report(at, event.ClusterState, event.Info, "cluster recovered: it has nodes with weight again")
	switch {
	case now != condition{}:
		r.Text, r.Cause, r.Level = "cluster degraded", c.verdict.Notice, event.Error
	case was.suspect:
		r.Text, r.Level = "cluster no longer suspect: nodes that do not respond count as down", event.Warn
	}
	r.Old, r.New, r.Nodes = was.String(), now.String(), c.tally()
	return r, true
}

// stateReport is the report of a node that has changed its state. The effect in the kernel has an event of its own, so this one is for
// debugging.
func stateReport(at time.Time, c *Cluster, n *Node, was string) event.Report {
	r := c.report(at, event.NodeKind(n.reported), event.Debug, "node is "+n.reported)
	r.Node, r.Old, r.New, r.Cause, r.Nodes = n.cfg.Address.String(), was, n.reported, n.why(), c.tally()
	return r
}

// unmanagedReport is the report, once, that the kernel has the mark of a cluster that lb did not start.
func unmanagedReport(now time.Time, c *Cluster, unmanaged bool) (r event.Report, news bool) {
	news = unmanaged && !c.unmanaged
	c.unmanaged = unmanaged
	return c.report(
		now,
		event.ClusterUnmanaged,
		event.Warn,
		"the kernel has the mark of a cluster that lb did not start; lb leaves it alone: "+
			"adopt it with `lb ctl cluster start "+c.cfg.Name+"` or remove it with `lb ctl cluster stop "+c.cfg.Name+"`",
	), news
}

// Describe returns the report of one operation on the kernel's table.
func (m *Model) Describe(at time.Time, op plan.Op) event.Report {
	r := event.Report{Level: event.Info, Event: event.Event{
		Time: at, Kind: kindOf(op), Text: "kernel table changed", Change: op.String(), Mark: uint32(op.Key.Mark),
	}}
	if retired, ok := m.retired[op.Key.Mark]; ok {
		r.Cause = retired.cause
	}
	ofNode := op.Kind == plan.PutDestination || op.Kind == plan.DeleteDestination
	if ofNode {
		r.Node = plan.NodeName(op.Destination)
		if op.Edit || op.Kind == plan.DeleteDestination {
			r.Old = fmt.Sprint(op.Old.Weight)
		}
		if op.Kind == plan.PutDestination {
			r.New = fmt.Sprint(op.Destination.Weight)
		}
	}
	c := m.Running(op.Key.Mark)
	if c == nil {
		return r
	}
	r.Cluster = c.cfg.Name
	switch n := c.nodes.find(op.Destination.Address); {
	case !ofNode:
	case n != nil:
		r.Cause = n.why()
		if n.state.Name() == "ramping" && op.Edit {
			r.Level = event.Debug // one line per reconcile would add nothing
		}
	case c.isPage(op.Destination):
		r.Cause = c.pageCause()
	default:
		r.Cause = c.leaving.cause(op.Destination.Address)
		if r.Kind == event.Weight {
			r.Kind = event.NodeLeaving
		}
	}
	return r
}

// kindOf is the kind of event for an operation.
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

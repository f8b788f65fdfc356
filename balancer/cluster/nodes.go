package cluster

import (
	"net/netip"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// Node is one node of a cluster.
type Node struct {
	cfg      config.Node
	state    decide.State
	drain    *Drain // nil: not drained
	own      own
	weight   int // as decided; the kernel's may differ
	steps    []decide.Step
	reported string // the state in the last event; "": unknown
	readings api.Readings
	remote   *remote // of another data centre's balancer; nil for a node of the configuration
}

// own is the decision about a node without regard to the others of its cluster.
type own struct {
	in     decide.Input // without a reading
	weight int
	steps  []decide.Step
}

// Drain is an operator's drain of a node.
type Drain struct {
	Cause  string // who drains the node and why, such as "by kim: new disks"
	Status api.DrainStatus
}

// Config is the node's configuration.
func (n *Node) Config() config.Node { return n.cfg }

// why is the sentence that explains the node's weight.
func (n *Node) why() string { return decide.Why(n.steps) }

// drainCause is who drains the node and why; "" if it is not drained.
func (n *Node) drainCause() string {
	if n.drain == nil {
		return ""
	}
	return n.drain.Cause
}

// count counts a reading.
func (n *Node) count(r decide.Reading) {
	switch {
	case !r.Answered:
		n.readings.Silent++
	case r.Health > 0:
		n.readings.Up++
	default:
		n.readings.Down++
	}
}

// nodeList is the nodes of a cluster: in the configuration's order, then those that other data centres list, by address.
type nodeList []*Node

// find returns the node of that address; nil if there is none.
func (l nodeList) find(a netip.Addr) *Node {
	for _, n := range l {
		if n.cfg.Address == a {
			return n
		}
	}
	return nil
}

// configured returns the nodes of the configuration.
func (l nodeList) configured() []*Node {
	return slices.DeleteFunc(slices.Clone(l), func(n *Node) bool { return n.remote != nil })
}

// known reports whether every node has been polled at least once.
func (l nodeList) known() bool {
	return !slices.ContainsFunc(l, func(n *Node) bool { return !n.state.HasReading })
}

// insertRemote returns the list with another data centre's balancer in its place.
func (l nodeList) insertRemote(n *Node) nodeList {
	at := slices.IndexFunc(l, func(o *Node) bool { return o.remote != nil && o.cfg.Address.Compare(n.cfg.Address) > 0 })
	if at < 0 {
		at = len(l)
	}
	return slices.Insert(l, at, n)
}

// healthyWithout counts the nodes that carry traffic, or would if the cluster ran, without one of them.
func (l nodeList) healthyWithout(without *Node, isDrained func(*Node) bool) int {
	count := 0
	for _, n := range l {
		if n != without && n.own.weight > 0 && !isDrained(n) {
			count++
		}
	}
	return count
}

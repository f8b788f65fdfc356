package cluster

import (
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/ipvs"
)

// Cluster is what the model knows about one cluster of the configuration.
type Cluster struct {
	spec
	nodes   nodeList
	sites   []*Site // in the configuration's order
	running bool
	start   *start // waits for first readings; nil: no start in progress
	pool    decide.Pool
	group   decide.ClusterState
	verdict decide.Outcome
	file    decide.Override  // an operator's up or down file
	held    []netip.Addr     // virtual IPs that have been here, and that no other machine is known to have
	page    []netip.AddrPort // where lb serves the cluster's downpage itself, one address of each family; none: it does not

	stale   bool            // a node's own weight was decided since decideCluster
	changed bool            // a reading changed a node's own weight since Edits
	members []decide.Member // scratch space of decideCluster

	leaving   leavingNodes
	condition condition // as last reported
	unmanaged bool      // the kernel has the mark of this stopped cluster: reported
}

// Running reports whether lb runs the cluster in the kernel.
func (c *Cluster) Running() bool { return c.running }

// Nodes returns the nodes that the balancer itself watches: those of the configuration.
func (c *Cluster) Nodes() []*Node { return c.nodes.configured() }

// Sites returns the other data centres' balancers that the cluster polls.
func (c *Cluster) Sites() []*Site { return c.sites }

// Page returns the addresses where lb itself serves the cluster's downpage; empty if it does not.
func (c *Cluster) Page() []netip.AddrPort { return c.page }

// SetPage sets the addresses where lb serves the cluster's downpage; none: it does not.
func (c *Cluster) SetPage(addresses []netip.AddrPort) { c.page = addresses }

// Leaves reports whether a destination of the cluster's services is not one of its nodes and will be removed.
func (c *Cluster) Leaves(d *ipvs.Destination) bool {
	return d.Port != 0 || c.nodes.find(d.Address) == nil
}

// setNodes sets the nodes of the cluster from its configuration. Existing nodes keep their state.
func (c *Cluster) setNodes(joining decide.State) {
	old := c.nodes
	c.nodes, c.stale = nil, true
	for _, cfg := range c.cfg.Nodes {
		n := old.find(cfg.Address)
		if n == nil {
			n = &Node{cfg: cfg, state: joining}
			c.decideNode(time.Time{}, n, nil)
		}
		n.cfg, n.remote = cfg, nil
		c.nodes = append(c.nodes, n)
	}
}

// adopt adopts a cluster that is already in the kernel's table: each node keeps its kernel weight until its first reading; a node
// that is missing from the table joins at 0.
func (c *Cluster) adopt(now time.Time, table []ipvs.Service) {
	c.running = true
	c.pool, c.group = decide.Pool{}, decide.ClusterState{}
	adoptRemotes(c, table)
	weights := map[netip.Addr]int{}
	for _, s := range table {
		for _, d := range s.Destinations {
			if s.Mark == c.Mark() {
				weights[d.Address] = int(d.Weight)
			}
			if s.Mark == c.Mark() && d.Weight > 0 && !c.isPage(d) {
				c.pool = decide.WarmPool(now, c.settings())
			}
		}
	}
	for _, n := range c.nodes {
		last, seen := n.state.LastReading, n.state.HasReading
		n.state = decide.Join(now)
		if w, ok := weights[n.cfg.Address]; ok {
			n.state = decide.Adopt(w)
		}
		if seen {
			c.decideNode(now, n, &last)
		} else {
			c.decideNode(now, n, nil)
		}
	}
}

// report starts a report about the cluster.
func (c *Cluster) report(now time.Time, kind event.Kind, level event.Level, text string) event.Report {
	return event.Report{Level: level, Event: event.Event{Time: now, Kind: kind, Text: text, Cluster: c.cfg.Name, Mark: c.cfg.Mark}}
}

// tally counts the cluster's nodes by state. A down node with a weight from the all_down policy still counts as down.
func (c *Cluster) tally() *event.Tally {
	t := &event.Tally{Running: c.running, All: len(c.nodes)}
	for _, n := range c.nodes {
		t.Weight += n.weight
		if state := n.state.Name(); n.own.weight > 0 || state != "down" && state != "unknown" {
			t.Up++
		}
	}
	return t
}

// hasMark reports whether a table has a service of a mark.
func hasMark(table []ipvs.Service, m ipvs.Mark) bool {
	return slices.ContainsFunc(table, func(s ipvs.Service) bool { return s.Mark == m })
}

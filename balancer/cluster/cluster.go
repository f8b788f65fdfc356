package cluster

import (
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Cluster is what the model knows about one cluster of the configuration.
type Cluster struct {
	cfg     config.Cluster
	nodes   []*Node // in the configuration's order, then those that other data centres list, by address
	sites   []*Site // in the configuration's order
	running bool
	start   *start // waits for first readings; nil: no start in progress
	pool    decide.Pool
	group   decide.ClusterState
	verdict decide.Outcome
	file    decide.Override  // an operator's up or down file
	page    []netip.AddrPort // where lb serves the cluster's downpage itself, one address of each family; none: it does not

	stale   bool            // a node's own weight was decided since decideCluster
	changed bool            // a reading changed a node's own weight since Edits
	members []decide.Member // scratch space of decideCluster

	leaving  map[netip.AddrPort]time.Time // since when a destination of the kernel's table is in no configuration
	departed map[netip.Addr]string        // why a node that other data centres listed is leaving

	condition condition // as last reported
	unmanaged bool      // the kernel has the mark of this stopped cluster: reported
}

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

// start is a start that waits for the first readings, so that the kernel gets true weights at once.
type start struct {
	deadline time.Time
	retry    bool // the kernel could not be read: only the deadline counts
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.cfg.Name }

// Config is the cluster's configuration.
func (c *Cluster) Config() config.Cluster { return c.cfg }

// Running reports whether lb runs the cluster in the kernel.
func (c *Cluster) Running() bool { return c.running }

// Mark is the mark of the cluster's own services.
func (c *Cluster) Mark() ipvs.Mark { return ipvs.Mark(c.cfg.Mark) }

// Marks are the marks of all its services: its own, and that of its relay if it has one.
func (c *Cluster) Marks() []ipvs.Mark {
	marks := []ipvs.Mark{c.Mark()}
	if c.cfg.Relay.Enabled {
		marks = append(marks, ipvs.Mark(c.cfg.Relay.Mark))
	}
	return marks
}

// Nodes returns the nodes that the balancer itself watches: those of the configuration.
func (c *Cluster) Nodes() []*Node {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(n *Node) bool { return n.remote != nil })
}

// Sites returns the other data centres' balancers that the cluster polls.
func (c *Cluster) Sites() []*Site { return c.sites }

// Config is the node's configuration.
func (n *Node) Config() config.Node { return n.cfg }

// SetPage says where lb serves the cluster's downpage; nowhere with none.
func (c *Cluster) SetPage(addresses []netip.AddrPort) { c.page = addresses }

// node returns the node of that address; nil if there is none.
func (c *Cluster) node(a netip.Addr) *Node {
	for _, n := range c.nodes {
		if n.cfg.Address == a {
			return n
		}
	}
	return nil
}

// why is the sentence that explains the node's weight.
func (n *Node) why() string { return decide.Why(n.steps) }

// drainCause is who drains the node and why; "" if it is not drained.
func (n *Node) drainCause() string {
	if n.drain == nil {
		return ""
	}
	return n.drain.Cause
}

// setNodes gives the cluster the nodes of its configuration. A node that it has already keeps its state.
func (c *Cluster) setNodes(joining decide.State) {
	old := c.nodes
	c.nodes, c.stale = nil, true
	for _, cfg := range c.cfg.Nodes {
		at := slices.IndexFunc(old, func(o *Node) bool { return o.cfg.Address == cfg.Address })
		if at < 0 {
			fresh := &Node{cfg: cfg, state: joining}
			c.decideNode(time.Time{}, fresh, nil)
			c.nodes = append(c.nodes, fresh)
			continue
		}
		old[at].cfg, old[at].remote = cfg, nil
		c.nodes = append(c.nodes, old[at])
	}
}

// adopt takes the cluster over from the kernel's table, where it runs: every node keeps the weight that it has there until its first reading; a
// node that the table does not have joins at 0.
func (c *Cluster) adopt(now time.Time, table []ipvs.Service) {
	c.running = true
	c.pool, c.group = decide.Pool{}, decide.ClusterState{}
	c.adoptRemotes(table)
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

// families are the address families of the virtual IPs, IPv4 first.
func (c *Cluster) families() []ipvs.Family {
	var families []ipvs.Family
	for _, v := range c.cfg.VIPs {
		if f := ipvs.FamilyOf(v.Address); !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	slices.Sort(families)
	return families
}

// report starts a report about the cluster.
func (c *Cluster) report(now time.Time, kind event.Kind, level event.Level, text string) event.Report {
	return event.Report{Level: level, Event: event.Event{Time: now, Kind: kind, Text: text, Cluster: c.cfg.Name, Mark: c.cfg.Mark}}
}

// tally sums up the cluster's nodes, each on its own: weights that a policy gives to nodes that are all down do not make them up.
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

// Leaves reports whether a destination of the cluster's services is none of its nodes, so that it stays only for a time.
func (c *Cluster) Leaves(d *ipvs.Destination) bool { return d.Port != 0 || c.node(d.Address) == nil }

// Page is where lb serves the cluster's downpage itself; none if it does not.
func (c *Cluster) Page() []netip.AddrPort { return c.page }

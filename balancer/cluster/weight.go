package cluster

import (
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// Observe takes in a reading of a node. It reports whether that changed the node's own weight while the cluster runs, which the
// kernel should learn without delay. A node that has left its cluster is ignored.
func (c *Cluster) Observe(now time.Time, n *Node, r decide.Reading) bool {
	n.count(r)
	if !c.decideNode(now, n, &r) || !c.running {
		return false
	}
	c.changed = true
	return true
}

// decideNode decides a node's own weight anew, with a reading or because time has passed, and reports whether it changed.
// decideCluster decides what follows for the cluster.
func (c *Cluster) decideNode(now time.Time, n *Node, r *decide.Reading) bool {
	before, in := n.own.weight, c.input(n)
	n.own.in = in
	in.Reading = r
	n.state, n.own.weight, n.own.steps = decide.Node(now, in, n.state)
	c.stale = true
	return n.own.weight != before
}

// tick repeats the decisions that depend on time or on other changes than readings.
func (c *Cluster) tick(now time.Time) {
	for _, n := range c.nodes {
		if !n.state.Steady() || n.own.in != c.input(n) {
			c.decideNode(now, n, nil)
		}
	}
	if c.stale || !c.group.SuspectSince.IsZero() {
		c.decideCluster(now)
	}
}

// decideCluster decides about the nodes together and updates the pool with their weights.
func (c *Cluster) decideCluster(now time.Time) {
	c.members = c.members[:0]
	for _, n := range c.nodes {
		c.members = append(c.members, decide.Member{
			Address: n.cfg.Address, Priority: n.cfg.Priority, Weight: n.own.weight, Steps: n.own.steps, State: &n.state,
		})
	}
	policy := c.policy()
	policy.Remove = policy.Remove && c.running
	c.group, c.verdict = decide.Cluster(now, policy, c.group, c.members)
	for i, n := range c.nodes {
		n.weight, n.steps = c.members[i].Weight, c.members[i].Steps
	}
	c.pool = c.pool.Next(now, c.running, c.verdict.Total)
	c.stale = false
}

// input returns what a decision about the node depends on, apart from its reading.
func (c *Cluster) input(n *Node) decide.Input {
	if n.remote != nil {
		return decide.Input{Settings: c.remoteSettings(), Pool: c.pool, Drain: n.drainCause()}
	}
	in := decide.Input{Settings: c.settings(), Pool: c.pool, Override: c.file, Drain: n.drainCause()}
	if n.cfg.MaxWeight > 0 && (in.Settings.MaxWeight == 0 || n.cfg.MaxWeight < in.Settings.MaxWeight) {
		in.Settings.MaxWeight = n.cfg.MaxWeight
	}
	return in
}

// desperate reports whether nodes have weight although none of them is healthy. Nobody else should count on these weights.
func (c *Cluster) desperate() bool {
	return c.verdict.AllDown && (c.cfg.AllDown == config.HoldLast || c.cfg.AllDown == config.AllIn)
}

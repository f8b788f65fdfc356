package balancer

import (
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// settings are what the cluster's config says about weights.
func (c *cluster) settings() decide.Settings {
	set := decide.Settings{
		Rise: c.cfg.Rise, Fall: c.cfg.Fall, RampUp: c.cfg.RampUpTime, MaxWeight: c.cfg.MaxWeight,
		DeadBand: c.cfg.DeadBand, Slew: c.cfg.Slew,
		// Every node is asked once an interval: who is well when the first one gets weight has answered often enough by then.
		WarmUp: time.Duration(c.cfg.Rise+1) * c.cfg.CheckInterval,
	}
	if c.cfg.Mode == config.ActivePassive {
		set.RampUp = 0 // there is no other node to carry the traffic meanwhile
	}
	return set
}

// policy is what the cluster's config says about its nodes together.
func (c *cluster) policy() decide.Policy {
	return decide.Policy{
		Passive: c.cfg.Mode == config.ActivePassive,
		AllDown: allDown(c.cfg.AllDown),
		Suspect: decide.SuspectRule{
			Share: c.cfg.SuspectShare,
			Limit: c.cfg.SuspectTime,
			// What fails at one moment is known within that time, for each node is asked at its own.
			Window: time.Duration(c.cfg.Fall)*c.cfg.CheckInterval + c.cfg.CheckTimeout,
		},
	}
}

func allDown(a config.AllDown) decide.AllDown {
	switch a {
	case config.ToPage:
		return decide.Downpage
	case config.HoldLast:
		return decide.HoldLast
	case config.AllIn:
		return decide.AllIn
	}
	return decide.RefuseAll
}

// desperate tells whether nodes have weight though none of them is well, so that nobody else should count on them.
func (c *cluster) desperate() bool {
	return c.verdict.AllDown && (c.cfg.AllDown == config.HoldLast || c.cfg.AllDown == config.AllIn)
}

// input is what a decision about the node is made from when only time has passed.
func (c *cluster) input(n *node) decide.Input {
	if n.remote != nil {
		return decide.Input{Settings: c.remoteSettings(), Pool: c.pool, Drain: n.drain}
	}
	in := decide.Input{Settings: c.settings(), Pool: c.pool, Override: c.file, Drain: n.drain}
	if n.cfg.MaxWeight > 0 && (in.Settings.MaxWeight == 0 || n.cfg.MaxWeight < in.Settings.MaxWeight) {
		in.Settings.MaxWeight = n.cfg.MaxWeight
	}
	return in
}

// weigh decides a node's own weight anew, with a reading or because time has passed. It tells whether that changed. What it makes
// of the cluster is for settle.
func (c *cluster) weigh(now time.Time, n *node, r *decide.Reading) bool {
	before, in := n.own.weight, c.input(n)
	n.own.in = in
	in.Reading = r
	n.state, n.own.weight, n.own.steps = decide.Node(now, in, n.state)
	c.stale = true
	return n.own.weight != before
}

// pass decides anew what depends on time, or on what has changed beside the readings.
func (c *cluster) pass(now time.Time) {
	for _, n := range c.nodes {
		if !n.state.Steady() || n.own.in != c.input(n) {
			c.weigh(now, n, nil)
		}
	}
	if c.stale || !c.group.SuspectSince.IsZero() {
		c.settle(now)
	}
}

// settle decides about the nodes together, and brings the pool up to date with their weights.
func (c *cluster) settle(now time.Time) {
	c.members = c.members[:0]
	for _, n := range c.nodes {
		c.members = append(c.members, decide.Member{
			Address: n.cfg.Address, Priority: n.cfg.Priority, Weight: n.own.weight, Steps: n.own.steps, State: &n.state,
		})
	}
	c.group, c.verdict = decide.Cluster(now, c.policy(), c.group, c.members)
	for i, n := range c.nodes {
		n.weight, n.steps = c.members[i].Weight, c.members[i].Steps
	}
	c.pool = c.pool.Next(now, c.running, c.verdict.Total)
	c.stale = false
}

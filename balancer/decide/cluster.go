package decide

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"
)

// AllDown is what a cluster does when none of its nodes has weight.
type AllDown uint8

// The policies for a cluster without weight.
const (
	RefuseAll AllDown = iota // all nodes stay at 0: the kernel refuses new connections
	Downpage                 // a server of last resort answers
	HoldLast                 // those that went last keep their weights
	AllIn                    // every node gets the same weight, whatever it answers
)

// Policy is what a cluster's configuration says about its nodes together.
type Policy struct {
	Passive bool // one node at a time has weight
	AllDown AllDown
	Suspect SuspectRule
}

// SuspectRule says when silence is held to be the balancer's own fault.
type SuspectRule struct {
	Share  int           // more than this percentage of the nodes with weight, fallen silent within Window; 0 is never
	Window time.Duration // what counts as at once
	Limit  time.Duration // after that the silence is believed
}

// InCluster is what is remembered about a node for the stages that look at all nodes of its cluster.
type InCluster struct {
	LastWeight int  // its weight when the cluster last had any
	Held       bool // silent, and its weight is held
	Passive    bool // healthy, and another node is the active one
}

// ClusterState is what is remembered about a cluster from one Settle to the next. The zero Group is one that nothing is known about.
type ClusterState struct {
	SuspectSince    time.Time // since when the balancer suspects itself; zero: it does not
	RecoveringSince time.Time // since when so many answer again that the rest need only their next chance; zero: they do not
	BelievedBefore  time.Time // silence that began before is believed
}

// Member is a node of a cluster, as Settle takes it.
type Member struct {
	Address  netip.Addr
	Priority int // the lowest comes first
	Weight   int // in: what Next gave; out: what the cluster's stages make of it
	Steps    []Step
	State    *State // its Joint is brought up to date
}

// Outcome is what Settle says about the cluster as a whole.
type Outcome struct {
	Total    int    // weight of the nodes that are well or taken to be; 0 when all are down, whatever the policy gives them
	AllDown  bool   // no node has weight but by the policy
	Downpage bool   // the server of last resort is in
	Notice   string // what is out of the ordinary, in a sentence; "" is nothing
}

// Cluster decides about the nodes of a cluster together: suspicion, mode, and what happens when no node is left. It changes members
// in place. The Steps it was given stay as they are.
func Cluster(now time.Time, p Policy, g ClusterState, members []Member) (ClusterState, Outcome) {
	var v Outcome
	for _, m := range members {
		m.State.InCluster.Passive = false
	}
	g, v.Notice = suspect(now, p.Suspect, g, members)
	if p.Passive {
		elect(members)
	}
	for _, m := range members {
		v.Total += m.Weight
	}
	if v.Total > 0 {
		for _, m := range members {
			m.State.InCluster.LastWeight = m.Weight
		}
		return g, v
	}
	v.AllDown = true
	v.Downpage = p.AllDown == Downpage
	v.Notice = rescue(p, members)
	return g, v
}

// step appends a stage to the member's own, which are shared with who explained them before.
func (m *Member) step(name string, out int, reason string) {
	m.Steps = append(m.Steps[:len(m.Steps):len(m.Steps)], Step{Name: name, In: m.Weight, Out: out, Reason: reason})
	m.Weight = out
}

// census counts the nodes that have weight or had it until they fell silent, at once with others.
type census struct {
	carrying int // all of them
	silent   int // those that have not answered last
	fallen   int // those that are out for it
}

// fell tells whether the node's silence began recently enough to be the balancer's own.
func (g ClusterState) fell(now time.Time, rule SuspectRule, st *State) bool {
	since := g.SuspectSince
	if since.IsZero() {
		since = now
	}
	return !st.FailedAt.IsZero() && st.FailedAt.After(g.BelievedBefore) && !st.FailedAt.Before(since.Add(-rule.Window))
}

func (g ClusterState) count(now time.Time, rule SuspectRule, members []Member) census {
	var c census
	for _, m := range members {
		switch {
		case m.Weight > 0:
			c.carrying++
			if m.State.Misses > 0 {
				c.silent++
			}
		case g.fell(now, rule, m.State):
			c.carrying++
			c.silent++
			c.fallen++
		}
	}
	return c
}

// suspect holds the weights of nodes that fell silent when too many did so at once.
func suspect(now time.Time, rule SuspectRule, g ClusterState, members []Member) (ClusterState, string) {
	if rule.Share == 0 {
		return ClusterState{}, release(members)
	}
	c := g.count(now, rule, members)
	many := c.silent > 1 && c.silent*100 > rule.Share*c.carrying
	on := !g.SuspectSince.IsZero()
	switch {
	case !on && (!many || c.fallen == 0):
		return g, release(members)
	case !on:
		g.SuspectSince = now
	case many:
		g.RecoveringSince = time.Time{}
	case g.RecoveringSince.IsZero():
		g.RecoveringSince = now
	}
	if c.fallen == 0 || now.Sub(g.SuspectSince) >= rule.Limit || !g.RecoveringSince.IsZero() && now.Sub(g.RecoveringSince) >= rule.Window {
		return ClusterState{BelievedBefore: now}, release(members)
	}
	notice := fmt.Sprintf("%d of %d nodes with weight fell silent at once (suspect_share = %d): lb suspects its own network and holds their weights for %s at most",
		c.silent, c.carrying, rule.Share, rule.Limit)
	for i := range members {
		m := &members[i]
		m.State.InCluster.Held = m.Weight == 0 && g.fell(now, rule, m.State)
		if m.State.InCluster.Held {
			m.step(StageSuspect, m.State.FailedWeight, notice)
		}
	}
	return g, notice
}

// release ends what suspicion held.
func release(members []Member) string {
	for _, m := range members {
		m.State.InCluster.Held = false
	}
	return ""
}

// before orders the nodes of an active/passive cluster: by priority, then by address.
func (m Member) before(o Member) bool {
	return cmp.Or(cmp.Compare(m.Priority, o.Priority), m.Address.Compare(o.Address)) < 0
}

// first returns the first node for which fit holds, nil when there is none.
func first(members []Member, fit func(Member) bool) *Member {
	var best *Member
	for i := range members {
		if fit(members[i]) && (best == nil || members[i].before(*best)) {
			best = &members[i]
		}
	}
	return best
}

// elect leaves weight to the first node that has any.
func elect(members []Member) {
	best := first(members, func(m Member) bool { return m.Weight > 0 })
	if best == nil {
		return
	}
	active := fmt.Sprintf("passive: %s (priority %d) is the active node", best.Address, best.Priority)
	for i := range members {
		m := &members[i]
		switch {
		case m == best:
			m.step(StageMode, m.Weight, "active: the first of the healthy nodes by priority, then address")
		case m.Weight > 0:
			m.State.InCluster.Passive = true
			m.step(StageMode, 0, active)
		}
	}
}

// rescue does what the policy says when no node has weight.
func rescue(p Policy, members []Member) string {
	switch p.AllDown {
	case Downpage:
		return "no node has weight: the downpage answers"
	case HoldLast:
		return hold(p, members)
	case AllIn:
		return allIn(p, members)
	}
	return "no node has weight: new connections are refused"
}

// hold leaves the nodes that went last at the weights that they had, in an active/passive cluster the first of them.
func hold(p Policy, members []Member) string {
	fit := func(m Member) bool { return !m.State.ByOperator && m.State.InCluster.LastWeight > 0 }
	best, held := first(members, fit), 0
	for i := range members {
		if m := &members[i]; fit(*m) && (m == best || !p.Passive) {
			m.step(StageAllDown, m.State.InCluster.LastWeight, "no node has weight: the last to go keeps its own (all_down = hold)")
			held++
		}
	}
	if held == 0 {
		return "no node has weight, and there is none to hold: new connections are refused"
	}
	return fmt.Sprintf("no node has weight: the last to go, %d of %d, keep theirs", held, len(members))
}

// allIn gives every node that no operator has taken out the weight 1, in an active/passive cluster the first of them.
func allIn(p Policy, members []Member) string {
	fit := func(m Member) bool { return !m.State.ByOperator }
	best := first(members, fit)
	if best == nil {
		return "no node has weight, and operators have taken all of them out: new connections are refused"
	}
	const reason = "no node has weight: all are tried (all_down = all_in)"
	if p.Passive {
		best.step(StageAllDown, 1, reason)
		return "no node has weight: the first by priority is tried"
	}
	in := 0
	for i := range members {
		if fit(members[i]) {
			members[i].step(StageAllDown, 1, reason)
			in++
		}
	}
	return fmt.Sprintf("no node has weight: all are tried, %d of %d", in, len(members))
}

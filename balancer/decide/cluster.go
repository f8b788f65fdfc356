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
	Downpage                 // the downpage (sorry server) takes the traffic
	HoldLast                 // the nodes that were last in keep their weights
	AllIn                    // every node has weight 1, whatever its health
)

// Policy is a cluster's configured rules for its nodes together.
type Policy struct {
	Passive bool // active/passive: one node at a time has weight
	AllDown AllDown
	Suspect SuspectRule
	Remove  bool // nodes that fail leave the kernel's table, which ends their connections
}

// SuspectRule defines when missing responses count as a fault of the balancer itself.
type SuspectRule struct {
	Share  int           // applies when more than this percentage of the nodes with weight stop responding within Window; 0 means never
	Window time.Duration // failures within this time count as simultaneous
	Limit  time.Duration // weights are held no longer than this
}

// InCluster is the state of a node for the stages that compare it with others.
type InCluster struct {
	LastWeight int  // its weight when the cluster last had any
	Held       bool // not responding, weight held by the suspect stage
	Passive    bool // healthy, but another node is active
	Removed    bool // failed, so it is not to be in the kernel's table
}

// ClusterState is the state of a cluster between calls of Cluster. The zero value is a new cluster.
type ClusterState struct {
	SuspectSince    time.Time // when the balancer began to suspect its own network; zero: it does not
	RecoveringSince time.Time // since when fewer nodes than SuspectRule.Share fail to respond; zero: they do not
	BelievedBefore  time.Time // failures up to this time are believed
}

// Member is a node of a cluster, as Cluster takes it.
type Member struct {
	Address  netip.Addr
	Priority int // the lowest is active first
	Weight   int // in: the output of Node; out: the final weight
	Steps    []Step
	State    *State // Cluster updates its InCluster
}

// Outcome is what Cluster decides about the cluster as a whole.
type Outcome struct {
	Total    int    // sum of the weights; 0 when all nodes are down, whatever the policy gives them
	AllDown  bool   // no node has weight except by the policy
	Downpage bool   // the downpage is to take the traffic
	Notice   string // an exceptional condition, in one sentence; may be empty
}

// Cluster decides about the nodes of a cluster together: suspicion, mode, the all-down policy, and which of them leave the kernel's table.
// It updates members in place but leaves the Steps it was given unchanged.
func Cluster(now time.Time, p Policy, cs ClusterState, members []Member) (ClusterState, Outcome) {
	cs, o := weigh(now, p, cs, members)
	removeFailed(p, members)
	return cs, o
}

// weigh decides the weights.
func weigh(now time.Time, p Policy, cs ClusterState, members []Member) (ClusterState, Outcome) {
	var o Outcome
	for _, m := range members {
		m.State.InCluster.Passive = false
	}
	cs, o.Notice = suspect(now, p.Suspect, cs, members)
	if p.Passive {
		electActive(members)
	}
	for _, m := range members {
		o.Total += m.Weight
	}
	if o.Total > 0 {
		for _, m := range members {
			m.State.InCluster.LastWeight = m.Weight
		}
		return cs, o
	}
	o.AllDown = true
	o.Downpage = p.AllDown == Downpage
	o.Notice = applyAllDown(p, members)
	return cs, o
}

// step appends a stage. It copies the Steps first: earlier readers share them.
func (m *Member) step(name string, out int, reason string) {
	m.Steps = append(m.Steps[:len(m.Steps):len(m.Steps)], Step{Name: name, In: m.Weight, Out: out, Reason: reason})
	m.Weight = out
}

// tally counts the nodes that have weight, or had it until a failure that may be the balancer's own.
type tally struct {
	withWeight   int
	unresponsive int // of those, not responding to the last poll
	failed       int // of those, at 0 by now
}

// suspectFailure reports whether the node failed recently enough for the balancer to be the cause.
func (cs ClusterState) suspectFailure(now time.Time, rule SuspectRule, st *State) bool {
	since := cs.SuspectSince
	if since.IsZero() {
		since = now
	}
	return !st.FailedAt.IsZero() && st.FailedAt.After(cs.BelievedBefore) && !st.FailedAt.Before(since.Add(-rule.Window))
}

func (cs ClusterState) count(now time.Time, rule SuspectRule, members []Member) tally {
	var t tally
	for _, m := range members {
		switch {
		case m.Weight > 0:
			t.withWeight++
			if m.State.Misses > 0 {
				t.unresponsive++
			}
		case cs.suspectFailure(now, rule, m.State):
			t.withWeight++
			t.unresponsive++
			t.failed++
		}
	}
	return t
}

// suspect holds the weights of failed nodes when too many failed at once. The notice is empty when it holds none.
func suspect(now time.Time, rule SuspectRule, cs ClusterState, members []Member) (_ ClusterState, notice string) {
	if rule.Share == 0 {
		releaseHeld(members)
		return ClusterState{}, ""
	}
	t := cs.count(now, rule, members)
	many := t.unresponsive > 1 && t.unresponsive*100 > rule.Share*t.withWeight
	on := !cs.SuspectSince.IsZero()
	switch {
	case !on && (!many || t.failed == 0):
		releaseHeld(members)
		return cs, ""
	case !on:
		cs.SuspectSince = now
	case many:
		cs.RecoveringSince = time.Time{}
	case cs.RecoveringSince.IsZero():
		cs.RecoveringSince = now
	}
	recovered := !cs.RecoveringSince.IsZero() && now.Sub(cs.RecoveringSince) >= rule.Window
	if t.failed == 0 || now.Sub(cs.SuspectSince) >= rule.Limit || recovered {
		releaseHeld(members)
		return ClusterState{BelievedBefore: now}, ""
	}
	notice = fmt.Sprintf("%d of %d nodes stopped responding at once (suspect_share = %d): "+
		"lb suspects its own network and keeps their weights for up to %s",
		t.unresponsive, t.withWeight, rule.Share, rule.Limit)
	for i := range members {
		m := &members[i]
		m.State.InCluster.Held = m.Weight == 0 && cs.suspectFailure(now, rule, m.State)
		if m.State.InCluster.Held {
			m.step(stageSuspect, m.State.FailedWeight, notice)
		}
	}
	return cs, notice
}

func releaseHeld(members []Member) {
	for _, m := range members {
		m.State.InCluster.Held = false
	}
}

// before orders nodes by priority, then by address.
func (m Member) before(o Member) bool {
	return cmp.Or(cmp.Compare(m.Priority, o.Priority), m.Address.Compare(o.Address)) < 0
}

// first returns the first eligible node, or nil.
func first(members []Member, eligible func(Member) bool) *Member {
	var best *Member
	for i := range members {
		if eligible(members[i]) && (best == nil || members[i].before(*best)) {
			best = &members[i]
		}
	}
	return best
}

// electActive sets the weight of all nodes but the active one to 0.
func electActive(members []Member) {
	best := first(members, func(m Member) bool { return m.Weight > 0 })
	if best == nil {
		return
	}
	reason := fmt.Sprintf("passive: %s (priority %d) is active", best.Address, best.Priority)
	for i := range members {
		m := &members[i]
		switch {
		case m == best:
			m.step(stageMode, m.Weight, "active: first healthy node by priority, then address")
		case m.Weight > 0:
			m.State.InCluster.Passive = true
			m.step(stageMode, 0, reason)
		}
	}
}

// applyAllDown applies the policy for a cluster without weight, and returns the notice.
func applyAllDown(p Policy, members []Member) string {
	switch p.AllDown {
	case Downpage:
		return "no node has weight: the downpage answers"
	case HoldLast:
		return holdLast(p, members)
	case AllIn:
		return allIn(p, members)
	}
	return "no node has weight: new connections are refused"
}

// holdLast restores the weights of the nodes that were last in; in an active/passive cluster, of the first of them.
func holdLast(p Policy, members []Member) string {
	eligible := func(m Member) bool { return !m.State.ByOperator && m.State.InCluster.LastWeight > 0 }
	best, held := first(members, eligible), 0
	for i := range members {
		if m := &members[i]; eligible(*m) && (m == best || !p.Passive) {
			m.step(stageAllDown, m.State.InCluster.LastWeight, "no node has weight: last weight kept (all_down = hold)")
			held++
		}
	}
	if held == 0 {
		return "no node has weight, and there are no last weights to keep: new connections are refused"
	}
	return fmt.Sprintf("no node has weight: %d of %d nodes keep their last weight", held, len(members))
}

// allIn gives weight 1 to every node that no operator took out; in an active/passive cluster, to the first of them.
func allIn(p Policy, members []Member) string {
	eligible := func(m Member) bool { return !m.State.ByOperator }
	best := first(members, eligible)
	if best == nil {
		return "no node has weight, and operators took all of them out: new connections are refused"
	}
	const reason = "no node has weight: weight 1 for every node (all_down = all_in)"
	if p.Passive {
		best.step(stageAllDown, 1, reason)
		return "no node has weight: trying the first by priority"
	}
	in := 0
	for i := range members {
		if eligible(members[i]) {
			members[i].step(stageAllDown, 1, reason)
			in++
		}
	}
	return fmt.Sprintf("no node has weight: trying %d of %d nodes", in, len(members))
}

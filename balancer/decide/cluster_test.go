package decide

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fakeCluster is a cluster driven by a test.
type fakeCluster struct {
	policy  Policy
	state   ClusterState
	outcome Outcome
	pool    Pool
	states  []State
	inputs  []Input
	members []Member
}

// tick decides about all nodes, with a reading or nil for each.
func (c *fakeCluster) tick(now time.Time, readings []*Reading) {
	c.members = c.members[:0]
	for i := range c.states {
		in := c.inputs[i]
		in.Pool, in.Reading = c.pool, readings[i]
		st, w, steps := Node(now, in, c.states[i])
		c.states[i] = st
		c.members = append(c.members, Member{
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(len(c.states) - i)}), Priority: i % 2, Weight: w, Steps: steps,
			State: &c.states[i],
		})
	}
	c.state, c.outcome = Cluster(now, c.policy, c.state, c.members)
	c.pool = c.pool.Next(now, true, c.outcome.Total)
}

func drawCluster(t *rapid.T) *fakeCluster {
	set := drawSettings(t)
	set.DeadBand = rapid.SampledFrom([]int{0, 0, 5, 100}).Draw(t, "dead_band")
	set.Slew = rapid.SampledFrom([]int{0, 0, 1, 50}).Draw(t, "slew")
	c := &fakeCluster{policy: Policy{
		Passive: rapid.Bool().Draw(t, "passive"),
		Remove:  rapid.Bool().Draw(t, "remove"),
		AllDown: AllDown(rapid.IntRange(0, 3).Draw(t, "all_down")),
		Suspect: SuspectRule{
			Share:  rapid.SampledFrom([]int{0, 1, 50, 99}).Draw(t, "suspect_share"),
			Window: time.Duration(rapid.IntRange(1, 10).Draw(t, "window s")) * time.Second,
			Limit:  time.Duration(rapid.IntRange(1, 60).Draw(t, "suspect_time s")) * time.Second,
		},
	}}
	for range rapid.IntRange(1, 6).Draw(t, "nodes") {
		c.states = append(c.states, drawState(t))
		c.inputs = append(c.inputs, Input{Settings: set})
	}
	return c
}

// check returns the first violated invariant, or "".
func (c *fakeCluster) check() string {
	above, total := 0, 0
	for i, m := range c.members {
		limit, last := capOf(c.inputs[i].Settings), m.Steps[len(m.Steps)-1]
		healthy := m.State.Phase == Up && m.State.Misses == 0
		explained := last.Name == stageMode || last.Name == stageDrain || c.inputs[i].Override.Kind == OverrideDown
		switch {
		case m.Weight < 0 || m.Weight > limit:
			return fmt.Sprintf("node %d: weight %d, limit %d", i, m.Weight, limit)
		case last.Out != m.Weight:
			return fmt.Sprintf("node %d: weight %d, the steps end in %+v", i, m.Weight, last)
		case healthy && m.Weight == 0 && !explained:
			return fmt.Sprintf("node %d is healthy but at 0, and no stage says why: %+v", i, m.Steps)
		case m.State.ByOperator && m.Weight > 0:
			return fmt.Sprintf("node %d was taken out by an operator but has weight: %+v", i, m.Steps)
		}
		for j, s := range m.Steps {
			if s.Reason == "" || j > 0 && s.In != m.Steps[j-1].Out {
				return fmt.Sprintf("node %d: the steps do not connect at %q: %+v", i, s.Name, m.Steps)
			}
		}
		if m.Weight > 0 {
			above++
		}
		total += m.Weight
	}
	switch {
	case c.policy.Passive && above > 1:
		return fmt.Sprintf("%d nodes of an active/passive cluster have weight", above)
	case c.outcome.Downpage != (total == 0 && c.policy.AllDown == Downpage):
		return fmt.Sprintf("downpage %t at a total of %d and policy %d", c.outcome.Downpage, total, c.policy.AllDown)
	case !c.outcome.AllDown && total != c.outcome.Total, c.outcome.AllDown && c.outcome.Total != 0:
		return fmt.Sprintf("the outcome's total is %d, the nodes have %d", c.outcome.Total, total)
	}
	return ""
}

// The invariants of a cluster hold for any readings, overrides and drains.
func TestPropertyClusterInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := drawCluster(t), start
		for range rapid.IntRange(1, 30).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			readings := make([]*Reading, len(c.states))
			kinds := []OverrideKind{NoOverride, NoOverride, NoOverride, NoOverride, OverrideUp, OverrideDown}
			override := Override{Kind: rapid.SampledFrom(kinds).Draw(t, "override")}
			for i := range readings {
				readings[i] = drawReading(t, now)
				c.inputs[i].Override = override
				c.inputs[i].Drain = rapid.SampledFrom([]string{"", "", "", "", "disk"}).Draw(t, "drain")
			}
			c.tick(now, readings)
			if wrong := c.check(); wrong != "" {
				t.Fatal(wrong)
			}
		}
	})
}

// Damping converges to a constant health, up to the dead band, and never moves faster than slew.
func TestPropertyDampingConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := Settings{DeadBand: rapid.IntRange(0, 30).Draw(t, "dead_band"), Slew: rapid.IntRange(0, 20).Draw(t, "slew")}
		from, to := rapid.IntRange(1, 100).Draw(t, "from"), rapid.IntRange(1, 100).Draw(t, "to")
		st, last, _ := next(start, set, Pool{}, State{}, reading(start, from))
		now := start
		for now.Before(start.Add(3 * time.Minute)) {
			step := time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond
			now = now.Add(step)
			var w int
			st, w, _ = next(now, set, Pool{}, st, reading(now, to))
			if moved := max(w-last, last-w); set.Slew > 0 && float64(moved) > float64(set.Slew)*step.Seconds()+1 {
				t.Fatalf("moved %d points in %s at a slew of %d", moved, step, set.Slew)
			}
			last = w
		}
		if gap := max(last-to, to-last); gap > 0 && gap >= set.DeadBand {
			t.Fatalf("stays at %d for a health of %d (dead_band = %d)", last, to, set.DeadBand)
		}
		if _, w, _ := next(now, set, Pool{}, st, reading(now, 0)); w != 0 {
			t.Fatalf("a fall to 0 was delayed: %d", w)
		}
		forced := reading(now, to/2+1)
		forced.Forced = true
		st, w, _ := next(now, set, Pool{}, st, forced)
		if w != to/2+1 {
			t.Fatalf("a forced health of %d was delayed: %d", to/2+1, w)
		}
		if _, w, _ = next(now, set, Pool{}, st, reading(now, to)); w != to {
			t.Fatalf("the end of a force was delayed: %d, want %d", w, to)
		}
	})
}

func BenchmarkNode(b *testing.B) {
	in := Input{Settings: Settings{Fall: 2, RampUp: time.Minute}, Reading: reading(start, 80)}
	states := make([]State, 10_000)
	b.ReportAllocs()
	for b.Loop() { // one reading for each of 10 000 nodes
		for i := range states {
			states[i], _, _ = Node(start, in, states[i])
		}
	}
}

func BenchmarkCluster(b *testing.B) {
	c := &fakeCluster{states: make([]State, 10_000), inputs: make([]Input, 10_000)}
	readings := make([]*Reading, len(c.states))
	for i := range readings {
		readings[i] = reading(start, 80)
	}
	c.tick(start, readings)
	b.ReportAllocs()
	for b.Loop() {
		c.state, c.outcome = Cluster(start, c.policy, c.state, c.members)
	}
}

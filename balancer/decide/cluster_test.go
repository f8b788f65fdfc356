package decide

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// crowd is a cluster in a test: its nodes' states, their inputs, and what is remembered about them together.
type crowd struct {
	policy  Policy
	group   ClusterState
	verdict Outcome
	pool    Pool
	states  []State
	inputs  []Input
	members []Member
}

// decide lets one cycle pass, with a reading for each node or nil.
func (c *crowd) decide(now time.Time, readings []*Reading) {
	c.members = c.members[:0]
	for i := range c.states {
		in := c.inputs[i]
		in.Pool, in.Reading = c.pool, readings[i]
		st, w, steps := Node(now, in, c.states[i])
		c.states[i] = st
		c.members = append(c.members, Member{
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(len(c.states) - i)}), Priority: i % 2, Weight: w, Steps: steps, State: &c.states[i],
		})
	}
	c.group, c.verdict = Cluster(now, c.policy, c.group, c.members)
	c.pool = c.pool.Next(now, true, c.verdict.Total)
}

func drawCrowd(t *rapid.T) *crowd {
	set := drawSettings(t)
	set.DeadBand = rapid.SampledFrom([]int{0, 0, 5, 100}).Draw(t, "dead_band")
	set.Slew = rapid.SampledFrom([]int{0, 0, 1, 50}).Draw(t, "slew")
	c := &crowd{policy: Policy{
		Passive: rapid.Bool().Draw(t, "passive"),
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

// check tells what is wrong with the outcome for a cluster; "" when nothing is.
func (c *crowd) check() string {
	above, total := 0, 0
	for i, m := range c.members {
		limit, last := capOf(c.inputs[i].Settings), m.Steps[len(m.Steps)-1]
		counts := m.State.Phase == Up && m.State.Misses == 0
		named := last.Name == StageMode || last.Name == StageDrain || c.inputs[i].Override.Kind == OverrideDown
		switch {
		case m.Weight < 0 || m.Weight > limit:
			return fmt.Sprintf("node %d: weight %d, its cap is %d", i, m.Weight, limit)
		case last.Out != m.Weight:
			return fmt.Sprintf("node %d: weight %d, the explanation ends in %+v", i, m.Weight, last)
		case counts && m.Weight == 0 && !named:
			return fmt.Sprintf("node %d is healthy and at 0 without a stage that says so: %+v", i, m.Steps)
		case m.State.ByOperator && m.Weight > 0:
			return fmt.Sprintf("node %d was taken out by an operator and has weight: %+v", i, m.Steps)
		}
		for j, s := range m.Steps {
			if s.Reason == "" || j > 0 && s.In != m.Steps[j-1].Out {
				return fmt.Sprintf("node %d: the explanation is broken at %q: %+v", i, s.Name, m.Steps)
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
	case c.verdict.Downpage != (total == 0 && c.policy.AllDown == Downpage):
		return fmt.Sprintf("downpage %t at a total of %d and policy %d", c.verdict.Downpage, total, c.policy.AllDown)
	case !c.verdict.AllDown && total != c.verdict.Total, c.verdict.AllDown && c.verdict.Total != 0:
		return fmt.Sprintf("the verdict's total is %d, the nodes have %d", c.verdict.Total, total)
	}
	return ""
}

// A cluster lives through any readings and any orders, and what is promised about its nodes together holds throughout.
func TestPropertyOfEveryCluster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := drawCrowd(t), start
		for range rapid.IntRange(1, 30).Draw(t, "cycles") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			readings := make([]*Reading, len(c.states))
			file := Override{Kind: rapid.SampledFrom([]OverrideKind{NoOverride, NoOverride, NoOverride, NoOverride, OverrideUp, OverrideDown}).Draw(t, "file")}
			for i := range readings {
				readings[i] = drawReading(t, now)
				c.inputs[i].Override = file
				c.inputs[i].Drain = rapid.SampledFrom([]string{"", "", "", "", "disk"}).Draw(t, "drain")
			}
			c.decide(now, readings)
			if wrong := c.check(); wrong != "" {
				t.Fatal(wrong)
			}
		}
	})
}

// Damping follows a health that stays in the end, to less than the dead band, and never faster than it may.
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
			if way := max(w-last, last-w); set.Slew > 0 && float64(way) > float64(set.Slew)*step.Seconds()+1 {
				t.Fatalf("moved %d points in %s at a slew of %d", way, step, set.Slew)
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

func BenchmarkNext(b *testing.B) {
	in := Input{Settings: Settings{Fall: 2, RampUp: time.Minute}, Reading: reading(start, 80)}
	states := make([]State, 10_000)
	b.ReportAllocs()
	for b.Loop() { // one round of readings of 10 000 nodes
		for i := range states {
			states[i], _, _ = Node(start, in, states[i])
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	c := &crowd{states: make([]State, 10_000), inputs: make([]Input, 10_000)}
	readings := make([]*Reading, len(c.states))
	for i := range readings {
		readings[i] = reading(start, 80)
	}
	c.decide(start, readings)
	b.ReportAllocs()
	for b.Loop() {
		c.group, c.verdict = Cluster(start, c.policy, c.group, c.members)
	}
}

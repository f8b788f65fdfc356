package decide

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOnlyFailuresRemove lists which nodes without weight leave the kernel's table. Each case is a series of polls of one of two nodes.
func TestOnlyFailuresRemove(t *testing.T) {
	const forced = -2 // the agent reports 0 by force
	set := Settings{Rise: 2, Fall: 2}
	for _, c := range []struct {
		name    string
		polls   []int
		drain   string
		file    OverrideKind
		adopted bool
		policy  AllDown
		removed []bool // after each poll
		why     string // ends so at last
	}{
		{name: "healthy", polls: []int{80}, removed: []bool{false}},
		{name: "it has not responded yet", polls: []int{noResponse}, removed: []bool{true},
			why: "no response yet: weight 0 until the first one; not in the kernel's table until then (on_failure = remove)"},
		{name: "it goes silent", polls: []int{80, noResponse, noResponse}, removed: []bool{false, false, true},
			why: "(fall = 2): connection refused; removed from the kernel's table until it is back (on_failure = remove)"},
		{name: "it reports 0", polls: []int{80, 0}, removed: []bool{false, true}},
		{name: "it is back after two good polls", polls: []int{80, 0, 80, 80}, removed: []bool{false, true, true, false}},
		{name: "an operator forces it down", polls: []int{80, forced, noResponse, forced}, removed: []bool{false, false, false, false}},
		{name: "forced down, then dead", polls: []int{80, forced, noResponse, noResponse}, removed: []bool{false, false, false, true}},
		{name: "forced down, then failing", polls: []int{80, forced, 0}, removed: []bool{false, false, true}},
		{name: "forced down, then up", polls: []int{80, forced, 80, 80}, removed: []bool{false, false, false, false}},
		{name: "dead, then forced down", polls: []int{80, noResponse, noResponse, forced}, removed: []bool{false, false, true, false}},
		{name: "drained", polls: []int{80, 80}, drain: "by kim", removed: []bool{false, false}},
		{name: "drained, then dead", polls: []int{80, noResponse, noResponse}, drain: "by kim", removed: []bool{false, false, true}},
		{name: "down file", polls: []int{80, 80}, file: OverrideDown, removed: []bool{false, false}},
		{name: "up file", polls: []int{80, 0}, file: OverrideUp, removed: []bool{false, false}},
		{name: "adopted", polls: []int{noResponse, noResponse}, adopted: true, removed: []bool{false, true}},
		{name: "held by all_down", polls: []int{80, 0}, policy: HoldLast, removed: []bool{false, false}},
		{name: "in by all_down", polls: []int{80, 0}, policy: AllIn, removed: []bool{false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, cs := State{}, ClusterState{}
			if c.adopted {
				st = Adopt(80)
			}
			var removed []bool
			var steps []Step
			for i, health := range c.polls {
				now := start.Add(time.Duration(i) * time.Second)
				r := reading(now, max(health, noResponse))
				if health == forced {
					r = reading(now, 0)
					r.Forced = true
				}
				in := Input{Settings: set, Reading: r, Drain: c.drain, Override: Override{Kind: c.file}}
				members := []Member{{State: &st}}
				st, members[0].Weight, members[0].Steps = Node(now, in, st)
				cs, _ = Cluster(now, Policy{Remove: true, AllDown: c.policy}, cs, members)
				removed, steps = append(removed, st.InCluster.Removed), members[0].Steps
				if members[0].Weight > 0 && st.InCluster.Removed {
					t.Errorf("poll %d: removed with weight %d", i, members[0].Weight)
				}
				kept := st
				Cluster(now, Policy{AllDown: c.policy}, cs, []Member{{State: &kept}})
				if kept.InCluster.Removed {
					t.Errorf("poll %d: removed although the cluster drains", i)
				}
			}
			if !slices.Equal(removed, c.removed) {
				t.Errorf("removed %v, want %v", removed, c.removed)
			}
			if why := Why(steps); !strings.HasSuffix(why, c.why) {
				t.Errorf("why: %q, want %q", why, c.why)
			}
		})
	}
}

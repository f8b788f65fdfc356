package decide

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A node that misses two polls is down.
func TestSuspicion(t *testing.T) {
	const none = "-" // no response
	for _, tt := range []struct {
		name  string
		nodes int
		polls map[int]string // from this second on, the health of each node
		want  map[int]string // the weights in this second
	}{
		{
			name: "many failures at once are held until the nodes respond", nodes: 4,
			polls: map[int]string{0: "9 9 9 9", 1: "- - - 9", 20: "9 8 7 9"},
			want:  map[int]string{2: "9 9 9 9", 19: "9 9 9 9", 20: "9 8 7 9", 40: "9 8 7 9"},
		},
		{
			name: "a single failure is believed, even of the only node", nodes: 1,
			polls: map[int]string{0: "9", 1: "-"},
			want:  map[int]string{1: "9", 2: "0", 10: "0"},
		},
		{
			name: "half of the nodes do not exceed a share of 50", nodes: 4,
			polls: map[int]string{0: "9 9 9 9", 1: "- - 9 9"},
			want:  map[int]string{2: "0 0 9 9", 10: "0 0 9 9"},
		},
		{
			name: "failures one after the other are believed", nodes: 4,
			polls: map[int]string{0: "9 9 9 9", 1: "- 9 9 9", 11: "- - 9 9", 21: "- - - 9"},
			want:  map[int]string{10: "0 9 9 9", 20: "0 0 9 9", 30: "0 0 0 9"},
		},
		{
			name: "after the limit all failures are believed, even the latest", nodes: 6,
			polls: map[int]string{0: "9 9 9 9 9 9", 1: "- - - - 9 9", 57: "- - - - - -"},
			want:  map[int]string{61: "9 9 9 9 9 9", 62: "0 0 0 0 0 0", 63: "0 0 0 0 0 0", 70: "0 0 0 0 0 0"},
		},
		{
			name: "most are back: the others have one more window to respond", nodes: 4,
			polls: map[int]string{0: "9 9 9 9", 1: "- - - 9", 10: "9 9 - 9"},
			want:  map[int]string{10: "9 9 9 9", 14: "9 9 9 9", 15: "9 9 0 9"},
		},
		{
			name: "most are back and fail again: the window starts anew", nodes: 4,
			polls: map[int]string{0: "9 9 9 9", 1: "- - - 9", 10: "9 9 - 9", 12: "- - - 9", 20: "9 9 - 9"},
			want:  map[int]string{14: "9 9 9 9", 19: "9 9 9 9", 20: "9 9 9 9", 24: "9 9 9 9", 25: "9 9 0 9"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &fakeCluster{policy: Policy{Suspect: SuspectRule{Share: 50, Window: 5 * time.Second, Limit: time.Minute}},
				states: make([]State, tt.nodes), inputs: make([]Input, tt.nodes)}
			for i := range c.inputs {
				c.inputs[i].Settings = Settings{Fall: 2}
			}
			var polls []string
			for second := range 80 {
				now := start.Add(time.Duration(second) * time.Second)
				if row, ok := tt.polls[second]; ok {
					polls = strings.Fields(row)
				}
				readings := make([]*Reading, tt.nodes)
				for i, poll := range polls {
					health := noResponse
					if poll != none {
						health = int(poll[0] - '0')
					}
					readings[i] = reading(now, health)
				}
				c.tick(now, readings)
				if want, ok := tt.want[second]; ok && c.weights() != want {
					t.Fatalf("in second %d: %s, want %s; %+v, %q", second, c.weights(), want, c.state, c.outcome.Notice)
				}
				if held := strings.Contains(c.outcome.Notice, "stopped responding at once"); held != c.held() {
					t.Fatalf("in second %d: notice %q, held: %t", second, c.outcome.Notice, c.held())
				}
			}
		})
	}
}

func (c *fakeCluster) weights() string {
	var w []string
	for _, m := range c.members {
		w = append(w, fmt.Sprint(m.Weight))
	}
	return strings.Join(w, " ")
}

// held reports whether any node keeps its weight without responding.
func (c *fakeCluster) held() bool {
	for _, m := range c.members {
		if m.State.InCluster.Held {
			return true
		}
	}
	return false
}

// A reload may disable suspicion while weights are held.
func TestSuspicionEndsWithItsRule(t *testing.T) {
	c := &fakeCluster{policy: Policy{Suspect: SuspectRule{Share: 50, Window: 5 * time.Second, Limit: time.Minute}},
		states: make([]State, 2), inputs: make([]Input, 2)}
	for second, health := range []int{9, noResponse} {
		now := start.Add(time.Duration(second) * time.Second)
		c.tick(now, []*Reading{reading(now, health), reading(now, health)})
	}
	if c.weights() != "9 9" || !c.held() {
		t.Fatalf("weights %s, held %t; want both held", c.weights(), c.held())
	}
	c.policy.Suspect = SuspectRule{}
	c.tick(start.Add(2*time.Second), make([]*Reading, 2))
	if c.weights() != "0 0" || c.held() || c.state != (ClusterState{}) {
		t.Errorf("weights %s, held %t, %+v; want no weight held and an empty state", c.weights(), c.held(), c.state)
	}
}

// Readers keep the Steps that they were given.
func TestClusterDoesNotChangeEarlierSteps(t *testing.T) {
	shared := append(make([]Step, 0, 6), Step{Name: stageReading})
	st := State{InCluster: InCluster{LastWeight: 7}}
	decide := func(policy AllDown) []Step {
		members := []Member{{Steps: shared, State: &st}}
		Cluster(start, Policy{AllDown: policy}, ClusterState{}, members)
		return members[0].Steps
	}
	first := decide(AllIn)
	before := first[1]
	if decide(HoldLast); first[1] != before {
		t.Errorf("a step changed from %+v to %+v", before, first[1])
	}
}

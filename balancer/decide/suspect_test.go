package decide

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Suspicion through time: what each node answers from a second on, and the weights that must stand then. A node that is silent twice is out.
func TestSuspicion(t *testing.T) {
	const none = "s" // no answer
	for _, tt := range []struct {
		name  string
		nodes int
		says  map[int]string // from this second on, a word for each node
		want  map[int]string // weights in this second
	}{
		{
			name: "many at once are held until they answer", nodes: 4,
			says: map[int]string{0: "9 9 9 9", 1: "s s s 9", 20: "9 8 7 9"},
			want: map[int]string{2: "9 9 9 9", 19: "9 9 9 9", 20: "9 8 7 9", 40: "9 8 7 9"},
		},
		{
			name: "one alone is believed, though it is all there are", nodes: 1,
			says: map[int]string{0: "9", 1: "s"},
			want: map[int]string{1: "9", 2: "0", 10: "0"},
		},
		{
			name: "half are not more than half", nodes: 4,
			says: map[int]string{0: "9 9 9 9", 1: "s s 9 9"},
			want: map[int]string{2: "0 0 9 9", 10: "0 0 9 9"},
		},
		{
			name: "one after the other is no network that fails", nodes: 4,
			says: map[int]string{0: "9 9 9 9", 1: "s 9 9 9", 11: "s s 9 9", 21: "s s s 9"},
			want: map[int]string{10: "0 9 9 9", 20: "0 0 9 9", 30: "0 0 0 9"},
		},
		{
			name: "after the limit silence is believed, also that of who went a moment before", nodes: 6,
			says: map[int]string{0: "9 9 9 9 9 9", 1: "s s s s 9 9", 57: "s s s s s s"},
			want: map[int]string{61: "9 9 9 9 9 9", 62: "0 0 0 0 0 0", 63: "0 0 0 0 0 0", 70: "0 0 0 0 0 0"},
		},
		{
			name: "most are back: the rest have their next chance", nodes: 4,
			says: map[int]string{0: "9 9 9 9", 1: "s s s 9", 10: "9 9 s 9"},
			want: map[int]string{10: "9 9 9 9", 14: "9 9 9 9", 15: "9 9 0 9"},
		},
		{
			name: "most are back and gone again: the chance begins anew", nodes: 4,
			says: map[int]string{0: "9 9 9 9", 1: "s s s 9", 10: "9 9 s 9", 12: "s s s 9", 20: "9 9 s 9"},
			want: map[int]string{14: "9 9 9 9", 19: "9 9 9 9", 20: "9 9 9 9", 24: "9 9 9 9", 25: "9 9 0 9"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &crowd{policy: Policy{Suspect: SuspectRule{Share: 50, Window: 5 * time.Second, Limit: time.Minute}},
				states: make([]State, tt.nodes), inputs: make([]Input, tt.nodes)}
			for i := range c.inputs {
				c.inputs[i].Settings = Settings{Fall: 2}
			}
			var words []string
			for second := range 80 {
				now := start.Add(time.Duration(second) * time.Second)
				if said, ok := tt.says[second]; ok {
					words = strings.Fields(said)
				}
				readings := make([]*Reading, tt.nodes)
				for i, word := range words {
					answer := silent
					if word != none {
						answer = int(word[0] - '0')
					}
					readings[i] = reading(now, answer)
				}
				c.decide(now, readings)
				if want, ok := tt.want[second]; ok && c.weights() != want {
					t.Fatalf("in second %d: %s, want %s; %+v, %q", second, c.weights(), want, c.group, c.verdict.Notice)
				}
				if held := strings.Contains(c.verdict.Notice, "fell silent at once"); held != c.held() {
					t.Fatalf("in second %d: notice %q, held: %t", second, c.verdict.Notice, c.held())
				}
			}
		})
	}
}

func (c *crowd) weights() string {
	var w []string
	for _, m := range c.members {
		w = append(w, fmt.Sprint(m.Weight))
	}
	return strings.Join(w, " ")
}

// held tells whether a node has a weight that it does not answer for.
func (c *crowd) held() bool {
	for _, m := range c.members {
		if m.State.InCluster.Held {
			return true
		}
	}
	return false
}

// A reload may take suspicion away while it holds weights.
func TestSuspicionEndsWithItsRule(t *testing.T) {
	c := &crowd{policy: Policy{Suspect: SuspectRule{Share: 50, Window: 5 * time.Second, Limit: time.Minute}}, states: make([]State, 2), inputs: make([]Input, 2)}
	for second, answer := range []int{9, silent} {
		now := start.Add(time.Duration(second) * time.Second)
		c.decide(now, []*Reading{reading(now, answer), reading(now, answer)})
	}
	if c.weights() != "9 9" || !c.held() {
		t.Fatalf("weights %s, held %t; want both held", c.weights(), c.held())
	}
	c.policy.Suspect = SuspectRule{}
	c.decide(start.Add(2*time.Second), make([]*Reading, 2))
	if c.weights() != "0 0" || c.held() || c.group != (ClusterState{}) {
		t.Errorf("weights %s, held %t, %+v; want nothing held and nothing remembered", c.weights(), c.held(), c.group)
	}
}

// Whoever was given an explanation keeps it as it was.
func TestSettleLeavesEarlierExplanationsAlone(t *testing.T) {
	shared := append(make([]Step, 0, 6), Step{Name: StageReading})
	st := State{InCluster: InCluster{LastWeight: 7}}
	explain := func(policy AllDown) []Step {
		members := []Member{{Steps: shared, State: &st}}
		Cluster(start, Policy{AllDown: policy}, ClusterState{}, members)
		return members[0].Steps
	}
	first := explain(AllIn)
	before := first[1]
	if explain(HoldLast); first[1] != before {
		t.Errorf("an explanation changed from %+v to %+v", before, first[1])
	}
}

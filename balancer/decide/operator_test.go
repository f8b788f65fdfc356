package decide

import (
	"testing"
	"time"
)

func TestDrain(t *testing.T) {
	set := Settings{Fall: 2, RampUp: 100 * time.Second}
	busy := WarmPool(start, set)
	in := Input{Settings: set, Pool: busy, Reading: reading(start, 80)}
	st, w, _ := Node(start, in, State{Phase: Up, LastInPool: start})
	if w != 80 {
		t.Fatalf("weight %d before the drain, want 80", w)
	}
	in.Drain = "by kim: kernel upgrade"
	st, w, steps := Node(start.Add(time.Second), in, st)
	last := steps[len(steps)-1]
	if w != 0 || last != (Step{StageDrain, 80, 0, "drained by kim: kernel upgrade"}) || Why(steps) != last.Reason || st.Name() != "drained" {
		t.Errorf("drained: weight %d, %s, last step %+v", w, st.Name(), last)
	}
	st, w, _ = Node(start.Add(time.Hour), in, st)
	if w != 0 {
		t.Errorf("weight %d after an hour of it", w)
	}
	in.Drain, in.Reading = "", nil
	st, w, _ = Node(start.Add(time.Hour), in, st)
	_, half, _ := Node(start.Add(time.Hour+50*time.Second), in, st)
	if w != 1 || half != 40 || st.Name() != "ramping" {
		t.Errorf("let in again: weight %d (%s), 50 s later %d; want 1 (ramping) and 40", w, st.Name(), half)
	}
	in.Pool = Pool{} // no other node carries weight
	if _, w, _ = Node(start.Add(time.Hour), in, st); w != 80 {
		t.Errorf("let in again where no other node carries weight: %d, want 80", w)
	}
}

func TestFilesOverruleTheNodes(t *testing.T) {
	set := Settings{Rise: 3, Fall: 2, RampUp: 100 * time.Second, MaxWeight: 90}
	busy := WarmPool(start, set)
	up := Override{Kind: OverrideUp, Reason: "agents are being upgraded"}
	down := Override{Kind: OverrideDown}
	tests := []struct {
		name   string
		answer int
		file   Override
		drain  string
		want   int // with the file
		after  int // without it again
		why    string
	}{
		{"up, and the node says 0", 0, up, "", 90, 0, "max_weight is 90"},
		{"up, and the node is silent", silent, up, "", 90, 70, "max_weight is 90"}, // once: the last weight holds
		{"up, and the node says more", 85, up, "", 90, 85, "max_weight is 90"},
		{"down", 80, down, "", 0, 80, "the cluster's down file"},
		{"down, and the node says 0", 0, down, "", 0, 0, "down by the node's own word: health"},
		{"up, but drained", 80, up, "disk", 0, 0, "drained disk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, _, _ := next(start, set, Pool{}, State{}, reading(start, 70))
			in := Input{Settings: set, Pool: busy, Override: tt.file, Drain: tt.drain, Reading: reading(start, tt.answer)}
			st, w, steps := Node(start, in, st)
			if w != tt.want {
				t.Errorf("weight %d, want %d\n%+v", w, tt.want, steps)
			}
			if steps[1].Name != StageFile {
				t.Errorf("steps %+v; want the file in the second place", steps)
			}
			if why := Why(steps); tt.why != why && tt.answer != 0 {
				t.Errorf("why: %q, want %q", why, tt.why)
			}
			in.Override, in.Reading = Override{}, nil
			if _, w, steps = Node(start, in, st); w != tt.after {
				t.Errorf("without the file %d, want %d\n%+v", w, tt.after, steps)
			}
		})
	}
}

// A reload may take calm away and give it again: then it begins anew, from the weight that the node has.
func TestCalmThatEndsIsForgotten(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	calm, free := Settings{Slew: 1}, Settings{}
	st := Adopt(20)
	at := func(s int, set Settings, health int) int {
		now = now.Add(time.Duration(s) * time.Second)
		var weight int
		st, weight, _ = Node(now, Input{Settings: set, Reading: &Reading{At: now, Answered: true, Health: health}}, st)
		return weight
	}
	for _, step := range []struct {
		name         string
		seconds      int
		set          Settings
		health, want int
		steady       bool
	}{
		{"calm, just taken over", 0, calm, 100, 20, false},
		{"calm", 10, calm, 100, 30, false},
		{"none", 1, free, 100, 100, true},
		{"calm again", 1, calm, 100, 100, true},
		{"calm still", 1, calm, 90, 99, false},
	} {
		if got := at(step.seconds, step.set, step.health); got != step.want || st.Steady() != step.steady {
			t.Errorf("%s: weight %d, steady %t; want %d, %t", step.name, got, st.Steady(), step.want, step.steady)
		}
	}
}

// The end of a file counts at once, whatever calm or ramp there was before.
func TestTheEndOfAFileCountsAtOnce(t *testing.T) {
	calm := Settings{Slew: 1}
	st, _, _ := next(start, calm, Pool{}, State{}, reading(start, 50))
	now := start.Add(time.Second)
	st, _, _ = Node(now, Input{Settings: calm, Override: Override{Kind: OverrideUp}, Reading: reading(now, 90)}, st)
	if _, weight, _ := next(now, calm, Pool{}, st, nil); weight != 90 {
		t.Errorf("with slew: weight %d, want 90", weight)
	}

	ramps := Settings{RampUp: 100 * time.Second}
	busy := WarmPool(start, ramps)
	st, _, _ = Node(start, Input{Settings: ramps, Pool: busy, Override: Override{Kind: OverrideUp}}, Adopt(60))
	if _, weight, _ := next(now, ramps, busy, st, reading(now, 60)); weight != 60 {
		t.Errorf("taken over while there was a file: weight %d, want 60", weight)
	}
}

// What slew would have allowed while a node was silent is not made up for when it answers again.
func TestSilenceSavesUpNoSlew(t *testing.T) {
	calm := Settings{Slew: 1, Fall: 20}
	st, weight, _ := next(start, calm, Pool{}, State{}, reading(start, 50))
	for s := range 12 {
		now, answer := start.Add(time.Duration(s+1)*time.Second), silent
		if s == 11 {
			answer = 100
		}
		st, weight, _ = next(now, calm, Pool{}, st, reading(now, answer))
	}
	if weight != 51 {
		t.Errorf("weight %d a second after the silence, want 51", weight)
	}
}

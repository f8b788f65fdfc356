package decide

import (
	"testing"
	"time"
)

func TestDrain(t *testing.T) {
	set := Settings{Fall: 2, RampUp: 100 * time.Second}
	warm := WarmPool(start, set)
	in := Input{Settings: set, Pool: warm, Reading: reading(start, 80)}
	st, w, _ := Node(start, in, State{Phase: Up, LastInPool: start})
	if w != 80 {
		t.Fatalf("weight %d before the drain, want 80", w)
	}
	in.Drain = "by kim: kernel upgrade"
	st, w, steps := Node(start.Add(time.Second), in, st)
	last := steps[len(steps)-1]
	if w != 0 || last != (Step{stageDrain, 80, 0, "drained by kim: kernel upgrade"}) || Why(steps) != last.Reason ||
		st.Name() != "drained" {
		t.Errorf("drained: weight %d, %s, last step %+v", w, st.Name(), last)
	}
	st, w, _ = Node(start.Add(time.Hour), in, st)
	if w != 0 {
		t.Errorf("weight %d after an hour", w)
	}
	in.Drain, in.Reading = "", nil
	st, w, _ = Node(start.Add(time.Hour), in, st)
	_, half, _ := Node(start.Add(time.Hour+50*time.Second), in, st)
	if w != 1 || half != 40 || st.Name() != "ramping" {
		t.Errorf("resumed: weight %d (%s), 50 s later %d; want 1 (ramping) and 40", w, st.Name(), half)
	}
	in.Pool = Pool{} // no other node has weight
	if _, w, _ = Node(start.Add(time.Hour), in, st); w != 80 {
		t.Errorf("resumed where no other node has weight: %d, want 80", w)
	}
}

func TestOverridesReplaceTheHealth(t *testing.T) {
	set := Settings{Rise: 3, Fall: 2, RampUp: 100 * time.Second, MaxWeight: 90}
	warm := WarmPool(start, set)
	up := Override{Kind: OverrideUp, Reason: "agent upgrade"}
	down := Override{Kind: OverrideDown}
	tests := []struct {
		name     string
		health   int
		override Override
		drain    string
		want     int // with the override
		after    int // when it is gone
		why      string
	}{
		{"up, node reports 0", 0, up, "", 90, 0, "max_weight is 90"},
		{"up, no response", noResponse, up, "", 90, 70, "max_weight is 90"}, // after one missed poll the weight is kept
		{"up, node reports a health", 85, up, "", 90, 85, "max_weight is 90"},
		{"down", 80, down, "", 0, 80, "cluster down file"},
		{"down, node reports 0", 0, down, "", 0, 0, "agent reported health 0"},
		{"up, but drained", 80, up, "disk", 0, 0, "drained disk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, _, _ := next(start, set, Pool{}, State{}, reading(start, 70))
			in := Input{Settings: set, Pool: warm, Override: tt.override, Drain: tt.drain, Reading: reading(start, tt.health)}
			st, w, steps := Node(start, in, st)
			if w != tt.want {
				t.Errorf("weight %d, want %d\n%+v", w, tt.want, steps)
			}
			if steps[1].Name != stageOverride {
				t.Errorf("steps %+v; want the override second", steps)
			}
			if why := Why(steps); tt.why != why && tt.health != 0 {
				t.Errorf("why: %q, want %q", why, tt.why)
			}
			in.Override, in.Reading = Override{}, nil
			if _, w, steps = Node(start, in, st); w != tt.after {
				t.Errorf("without the override %d, want %d\n%+v", w, tt.after, steps)
			}
		})
	}
}

// When reloads remove damping and add it again, it starts from the weight that the node has then.
func TestDampingRestartsFromTheCurrentWeight(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	damped, undamped := Settings{Slew: 1}, Settings{}
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
		{"damped, just adopted", 0, damped, 100, 20, false},
		{"damped", 10, damped, 100, 30, false},
		{"undamped", 1, undamped, 100, 100, true},
		{"damped again", 1, damped, 100, 100, true},
		{"still damped", 1, damped, 90, 99, false},
	} {
		if got := at(step.seconds, step.set, step.health); got != step.want || st.Steady() != step.steady {
			t.Errorf("%s: weight %d, steady %t; want %d, %t", step.name, got, st.Steady(), step.want, step.steady)
		}
	}
}

// The end of an override is neither damped nor ramped.
func TestEndOfOverrideAppliesAtOnce(t *testing.T) {
	damped := Settings{Slew: 1}
	st, _, _ := next(start, damped, Pool{}, State{}, reading(start, 50))
	now := start.Add(time.Second)
	st, _, _ = Node(now, Input{Settings: damped, Override: Override{Kind: OverrideUp}, Reading: reading(now, 90)}, st)
	if _, weight, _ := next(now, damped, Pool{}, st, nil); weight != 90 {
		t.Errorf("with slew: weight %d, want 90", weight)
	}

	ramps := Settings{RampUp: 100 * time.Second}
	warm := WarmPool(start, ramps)
	st, _, _ = Node(start, Input{Settings: ramps, Pool: warm, Override: Override{Kind: OverrideUp}}, Adopt(60))
	if _, weight, _ := next(now, ramps, warm, st, reading(now, 60)); weight != 60 {
		t.Errorf("adopted under an override: weight %d, want 60", weight)
	}
}

// Time without a response does not count towards slew.
func TestSlewDoesNotAccumulateWithoutResponse(t *testing.T) {
	set := Settings{Slew: 1, Fall: 20}
	st, weight, _ := next(start, set, Pool{}, State{}, reading(start, 50))
	for s := range 12 {
		now, health := start.Add(time.Duration(s+1)*time.Second), noResponse
		if s == 11 {
			health = 100
		}
		st, weight, _ = next(now, set, Pool{}, st, reading(now, health))
	}
	if weight != 51 {
		t.Errorf("weight %d a second after the responses are back, want 51", weight)
	}
}

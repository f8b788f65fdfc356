package decide

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawSettings(t *rapid.T) Settings {
	return Settings{
		Rise:      rapid.IntRange(1, 4).Draw(t, "rise"),
		Fall:      rapid.IntRange(1, 4).Draw(t, "fall"),
		RampUp:    time.Duration(rapid.IntRange(0, 300_000).Draw(t, "ramp ms")) * time.Millisecond,
		MaxWeight: rapid.SampledFrom([]int{0, 0, 1, 30, 100, 65535}).Draw(t, "max_weight"),
		WarmUp:    time.Duration(rapid.IntRange(0, 10_000).Draw(t, "settle ms")) * time.Millisecond,
	}
}

func drawState(t *rapid.T) State {
	return rapid.SampledFrom([]State{{}, Join(start), Adopt(0), Adopt(1), Adopt(57), Adopt(65535)}).Draw(t, "state")
}

func drawReading(t *rapid.T, now time.Time) *Reading {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return nil
	case 1, 2:
		return reading(now, noResponse)
	case 3:
		return reading(now, 0)
	}
	return reading(now, rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, 1<<40)).Draw(t, "health"))
}

// The invariants of a weight hold for any sequence of readings in any pool.
func TestPropertyWeightInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, st, pool := drawSettings(t), drawState(t), Pool{}
		if rapid.Bool().Draw(t, "warm pool") {
			pool = WarmPool(start, set)
		}
		now, good, misses := start, 0, 0
		first, last := true, st.Health
		for range rapid.IntRange(1, 40).Draw(t, "polls") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60_000).Draw(t, "ms")) * time.Millisecond)
			r := drawReading(t, now)
			before := st
			var w int
			var steps []Step
			st, w, steps = next(now, set, pool, st, r)
			if r != nil && r.Answered && r.Health > 0 {
				good, misses = good+1, 0
			} else if r != nil {
				good = 0
				if r.Answered {
					misses = 0
				} else {
					misses++
				}
			}
			switch {
			case w < 0 || w > MaxWeight || set.MaxWeight > 0 && w > set.MaxWeight:
				t.Fatalf("weight %d exceeds its limits", w)
			case good >= set.Rise && w == 0:
				t.Fatalf("healthy for %d polls and still at 0: %+v", good, steps)
			case r != nil && r.Answered && r.Health == 0 && w != 0:
				t.Fatalf("it reports 0 and has weight %d", w)
			case misses >= set.Fall && w != 0:
				t.Fatalf("no response for %d polls and still at %d", misses, w)
			case r != nil && !r.Answered && misses < set.Fall && w != min(last, capOf(set)):
				t.Fatalf("no response for %d polls (fall = %d): weight %d, want %d kept", misses, set.Fall, w, last)
			case before.Name() == "ramping" && st.Name() == "ramping" && w < last && r != nil && w < min(r.Health, capOf(set)):
				t.Fatalf("the ramp-up fell from %d to %d at a health of %d", last, w, r.Health)
			case first && r != nil && before.Adopted && before.Health > 0 && pool != (Pool{}) && set.RampUp > 0 && w > before.Health:
				t.Fatalf("adopted at %d, the first reading gives %d", before.Health, w)
			case steps[len(steps)-1].Out != w || len(steps) != 5:
				t.Fatalf("the steps end in %+v, the weight is %d", steps, w)
			}
			for i, s := range steps {
				if s.Reason == "" || i > 0 && s.In != steps[i-1].Out {
					t.Fatalf("the steps do not connect at %q: %+v", s.Name, steps)
				}
			}
			first, last = first && r == nil, w
			if rapid.Bool().Draw(t, "update the pool") {
				pool = pool.Next(now, true, w+rapid.IntRange(0, 100).Draw(t, "others"))
			}
		}
	})
}

func capOf(set Settings) int {
	if set.MaxWeight > 0 {
		return set.MaxWeight
	}
	return MaxWeight
}

// At a constant health a ramp-up never falls, is exact up to rounding, and finishes on time.
func TestPropertyRampUpIsMonotoneAndOnTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSettings(t)
		set.MaxWeight, set.RampUp = 0, set.RampUp+time.Millisecond
		health := rapid.IntRange(1, MaxWeight).Draw(t, "health")
		pool, st, last := WarmPool(start, set), Join(start), 0
		var w int
		st, w, _ = next(start, set, pool, st, reading(start, health))
		if w != 1 {
			t.Fatalf("starts at %d, want 1", w)
		}
		age := time.Duration(0)
		for age < set.RampUp {
			age += 1 + time.Duration(rapid.Int64Range(0, int64(set.RampUp/5)+1).Draw(t, "step"))
			age = min(age, set.RampUp)
			now := start.Add(age)
			st, w, _ = next(now, set, pool, st, reading(now, health))
			exact := float64(health) * float64(age) / float64(set.RampUp)
			if w < last || float64(w) > max(1, exact+1e-6) || float64(w) < exact-1-1e-6 {
				t.Fatalf("at %s of %s: weight %d after %d, exactly %.3f", age, set.RampUp, w, last, exact)
			}
			last = w
		}
		if w != health {
			t.Fatalf("after %s the weight is %d, want %d", set.RampUp, w, health)
		}
	})
}

// A restart of lb during a ramp-up does not change the weight.
func TestPropertyRestartKeepsTheRampUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSettings(t)
		set.RampUp += time.Second
		health := rapid.IntRange(1, 100).Draw(t, "health")
		now := start
		st, _, _ := next(now, set, WarmPool(now, set), Join(now), reading(now, health))
		now = now.Add(time.Duration(rapid.Int64Range(0, int64(set.RampUp)*2).Draw(t, "age")))
		_, w, _ := next(now, set, WarmPool(now, set), st, reading(now, health))
		_, again, _ := next(now, set, WarmPool(now, set), Adopt(w), reading(now, health))
		if again != w {
			t.Fatalf("weight %d before the restart, %d after it", w, again)
		}
	})
}

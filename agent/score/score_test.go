package score_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/braintree/lb/agent/score"
)

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func TestMeasured(t *testing.T) {
	now := noon()
	fresh := now.Add(-time.Second)
	dep := func(ok bool, at time.Time) score.Reading {
		return score.Reading{OK: ok, At: at, Interval: 2 * time.Second}
	}
	metric := func(v float64) score.Reading {
		return score.Reading{OK: true, Value: v, At: fresh, Interval: 2 * time.Second}
	}
	for _, tc := range []struct {
		name    string
		depends []score.Reading
		metrics []score.Reading
		want    int
	}{
		{"sum of metrics", []score.Reading{dep(true, fresh)}, []score.Reading{metric(60), metric(25)}, 85},
		{"each metric is rounded up", nil, []score.Reading{metric(50.1), metric(9.0), metric(0.2)}, 61},
		{"a floating point remainder is not rounded up", nil, []score.Reading{metric(0.07 * 100)}, 7},
		{"at most 100", nil, []score.Reading{metric(150)}, 100},
		{"one failing dependency", []score.Reading{dep(true, fresh), dep(false, fresh)}, []score.Reading{metric(60)}, 0},
		{"a dependency that has not run", []score.Reading{dep(true, time.Time{})}, []score.Reading{metric(60)}, 0},
		{"three intervals old still counts", []score.Reading{dep(true, now.Add(-6*time.Second))}, []score.Reading{metric(60)}, 60},
		{"older than three intervals", []score.Reading{dep(true, now.Add(-6*time.Second-1))}, []score.Reading{metric(60)}, 0},
		{"dependencies only, all passing", []score.Reading{dep(true, fresh)}, nil, 100},
		{"no checks", nil, nil, 0},
		{"a constant of 0", nil, []score.Reading{metric(0)}, 0},
		{"a load metric keeps its floor", nil, []score.Reading{{OK: true, Value: -300, Floor: 1, At: fresh, Interval: time.Second}}, 1},
		{"a failed load metric contributes its floor", nil, []score.Reading{{Floor: 1, At: fresh, Interval: time.Second}}, 1},
		{"a failed metric takes no node out", nil, []score.Reading{{Value: 50, At: fresh, Interval: time.Second}}, 1},
		{"a failed metric contributes nothing", nil, []score.Reading{{Value: 50, At: fresh, Interval: time.Second}, metric(20)}, 20},
		{"a metric that has not run", nil, []score.Reading{{Interval: time.Second}}, 0},
		{"a stale metric takes no node out", nil,
			[]score.Reading{{OK: true, Value: 50, At: now.Add(-time.Minute), Interval: time.Second}}, 1},
		{"not a number", nil, []score.Reading{metric(math.NaN()), metric(math.Inf(-1))}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := score.Measured(now, tc.depends, tc.metrics); got != tc.want {
				t.Errorf("Measured = %d, want %d", got, tc.want)
			}
		})
	}
}

func readings(now time.Time) *rapid.Generator[[]score.Reading] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) score.Reading {
		r := score.Reading{
			OK:       rapid.Bool().Draw(t, "ok"),
			Value:    rapid.Float64().Draw(t, "value"),
			Floor:    rapid.IntRange(0, 1).Draw(t, "floor"),
			Interval: time.Duration(rapid.IntRange(1, 60).Draw(t, "interval")) * time.Second,
		}
		if rapid.Bool().Draw(t, "ran") {
			r.At = now.Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, "age")) * time.Second)
		}
		return r
	}), 0, 8)
}

func TestMeasuredForAnyResults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon()
		depends, metrics := readings(now).Draw(t, "depends"), readings(now).Draw(t, "metrics")
		got := score.Measured(now, depends, metrics)
		if got < 0 || got > score.Max {
			t.Fatalf("health %d is outside 0 to 100", got)
		}
		allPassing, floors := true, 0
		for _, d := range depends {
			allPassing = allPassing && d.OK && !d.At.IsZero() && now.Sub(d.At) <= 3*d.Interval
		}
		for _, m := range metrics {
			floors += m.Floor
		}
		if !allPassing && got != 0 {
			t.Fatalf("health %d with a dependency that is not passing", got)
		}
		if allPassing && floors > 0 && got == 0 {
			t.Fatal("health 0 in spite of a load metric")
		}
		// A better result of one metric never lowers the health.
		if len(metrics) > 0 {
			metrics[0] = score.Reading{OK: true, Value: 100, At: now, Interval: time.Second}
			if better := score.Measured(now, depends, metrics); better < got {
				t.Fatalf("a better metric lowered the health from %d to %d", got, better)
			}
		}
	})
}

func TestTheStrongestOverrideWins(t *testing.T) {
	order := []score.Override{
		{Global: true, Kind: score.Down}, {Global: true, Kind: score.Up}, {Global: true, Kind: score.Health},
		{Kind: score.Down}, {Kind: score.Up}, {Kind: score.Health},
	}
	rapid.Check(t, func(t *rapid.T) {
		idx := rapid.SliceOf(rapid.IntRange(0, len(order)-1)).Draw(t, "in effect")
		if len(idx) == 0 {
			if got := score.Winning(nil); got != -1 {
				t.Fatalf("Winning(nil) = %d, want -1", got)
			}
			return
		}
		var list []score.Override
		best := 0
		for i, n := range idx {
			list = append(list, order[n])
			if n < idx[best] {
				best = i
			}
		}
		if got := score.Winning(list); got != best {
			t.Fatalf("Winning(%v) = %d, want %d", list, got, best)
		}
	})
}

func TestApply(t *testing.T) {
	for _, tc := range []struct {
		name     string
		o        score.Override
		measured int
		want     int
	}{
		{"down is 0", score.Override{Kind: score.Down}, 85, 0},
		{"up is 100 even if nothing is passing", score.Override{Kind: score.Up}, 0, 100},
		{"health is a ceiling", score.Override{Kind: score.Health, Value: 42}, 85, 42},
		{"health does not raise", score.Override{Kind: score.Health, Value: 95}, 85, 85},
		{"health with a failing dependency", score.Override{Kind: score.Health, Value: 42}, 0, 0},
		{"a negative ceiling is 0", score.Override{Kind: score.Health, Value: -5}, 85, 0},
		{"no force", score.Override{}, 85, 85},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.o.Apply(tc.measured); got != tc.want {
				t.Errorf("Apply(%d) = %d, want %d", tc.measured, got, tc.want)
			}
		})
	}
}

func TestStaleFromIsTheFirstStaleMoment(t *testing.T) {
	r := score.Reading{OK: true, At: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Interval: 3 * time.Second}
	from := r.StaleFrom()
	if r.Stale(from.Add(-1)) || !r.Stale(from) {
		t.Errorf("stale from %s: before it %v, then %v; want false, then true", from, r.Stale(from.Add(-1)), r.Stale(from))
	}
	if never := (score.Reading{Interval: time.Second}).StaleFrom(); !never.IsZero() {
		t.Errorf("without a result it is stale from %s", never)
	}
}

func TestPointsAndAgeStayInRange(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		value float64
		floor int
		want  int
	}{{7.05, 0, 8}, {7.000000000000001, 0, 7}, {6.95, 0, 7}, {0.01, 0, 1}, {102, 0, 100}, {0, 200, 100}} {
		r := score.Reading{OK: true, Value: tc.value, Floor: tc.floor, At: now, Interval: time.Second}
		if got := r.Points(now); got != tc.want {
			t.Errorf("%v with the floor %d contributes %d, want %d", tc.value, tc.floor, got, tc.want)
		}
	}
	if age := (score.Reading{At: now.Add(time.Second)}).Age(now); age != 0 {
		t.Errorf("a result from the future has the age %s", age)
	}
}

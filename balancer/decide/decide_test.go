package decide

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// poll is one row of a scenario.
type poll struct {
	at     time.Duration // seconds after start
	health int           // noResponse: the poll failed; noPoll: only time passes
	want   int           // the weight
}

const (
	noResponse = -1
	noPoll     = -2
)

// No other stage gives 0 for a node that is up. The floor guards against one that ever might.
func TestFloor(t *testing.T) {
	for _, tt := range []struct{ weight, counted, want int }{{0, 5, 1}, {1, 5, 1}, {5, 5, 5}, {0, 0, 0}} {
		if got := floorStage(tt.weight, tt.counted); got.Out != tt.want {
			t.Errorf("weight %d, counted health %d: floor gives %d, want %d", tt.weight, tt.counted, got.Out, tt.want)
		}
	}
}

func TestNodeOverTime(t *testing.T) {
	set := Settings{Rise: 1, Fall: 2, RampUp: 100 * time.Second, WarmUp: 4 * time.Second}
	warm := WarmPool(start, set)
	tests := []struct {
		name  string
		set   func(*Settings)
		pool  Pool
		state State
		polls []poll
	}{
		{name: "a node present from the start has its full weight at once", pool: Pool{},
			polls: []poll{{0, noPoll, 0}, {0, 92, 92}, {1, 93, 93}, {2, 10, 10}}},
		{name: "a joining node ramps up from 1 and finishes on time", pool: warm, state: Join(start),
			polls: []poll{{0, noPoll, 0}, {0, 80, 1}, {1, 80, 1}, {2, 80, 1}, {3, 80, 2}, {50, 80, 40}, {99, 80, 79}, {100, 80, 80},
				{101, 90, 90}}},
		{name: "the ramp-up needs no new readings", pool: warm, state: Join(start),
			polls: []poll{{0, 80, 1}, {50, noPoll, 40}, {100, noPoll, 80}}},
		{name: "during the ramp-up the weight falls only below a lower health", pool: warm, state: Join(start),
			polls: []poll{{0, 100, 1}, {50, 100, 50}, {51, 60, 50}, {52, 40, 40}, {53, 100, 53}, {100, 100, 100}}},
		{name: "a health of 0 applies at once, and the node ramps up when it is back", pool: warm,
			polls: []poll{{0, 50, 1}, {100, 50, 50}, {101, 0, 0}, {102, 50, 1}, {152, 50, 25}, {202, 50, 50}}},
		{name: "one missed poll keeps the weight, two set it to 0", pool: Pool{},
			polls: []poll{{0, 70, 70}, {1, noResponse, 70}, {2, 65, 65}, {3, noResponse, 65}, {4, noResponse, 0}, {5, noResponse, 0}}},
		{name: "the ramp-up is held while the node does not respond", pool: warm, state: Join(start),
			polls: []poll{{0, 100, 1}, {20, 100, 20}, {22, noResponse, 20}, {23, noPoll, 20}, {24, 100, 24}}},
		{name: "rise counts good polls, and a bad one resets the count", set: func(s *Settings) { s.Rise = 3 }, pool: Pool{},
			polls: []poll{{0, 70, 70}, {1, 0, 0}, {2, 70, 0}, {3, 70, 0}, {4, noResponse, 0}, {5, 70, 0}, {6, 70, 0}, {7, 70, 70}}},
		{name: "a node that was never down need not rise", set: func(s *Settings) { s.Rise = 3 }, pool: Pool{}, polls: []poll{{0, 70, 70}}},
		{name: "max_weight limits the weight", set: func(s *Settings) { s.MaxWeight = 30 }, pool: Pool{},
			polls: []poll{{0, 100, 30}, {1, 20, 20}}},
		{name: "the kernel limits the weight to 65535", pool: Pool{}, polls: []poll{{0, 65536, 65535}}},
		{name: "without ramp_up_time it has its full weight at once", set: func(s *Settings) { s.RampUp = 0 }, pool: warm,
			state: Join(start), polls: []poll{{0, 100, 100}}},
		{name: "a slewed change goes all the way, past the dead band", set: func(s *Settings) { s.DeadBand, s.Slew = 10, 1 },
			polls: []poll{{0, 50, 50}, {1, 70, 51}, {15, 70, 65}, {20, 70, 70}}},
		{name: "slew does not accumulate within the dead band", set: func(s *Settings) { s.DeadBand, s.Slew = 10, 1 },
			polls: []poll{{0, 50, 50}, {100, 55, 50}, {101, 70, 51}}},
		{name: "nor while the node does not respond", set: func(s *Settings) { s.Fall, s.Slew = 20, 1 },
			polls: []poll{{0, 50, 50}, {1, 100, 51}, {10, noResponse, 51}, {11, 100, 52}}},
		{name: "slew accumulates for an hour at most", set: func(s *Settings) { s.Slew = 1 },
			polls: []poll{{0, 1, 1}, {7200, 65535, 3601}, {7201, 65535, 3602}}},
		{name: "a ramp-up is not damped, nor is its last step", set: func(s *Settings) { s.RampUp, s.Slew = 10*time.Second, 1 }, pool: warm,
			state: Join(start),
			polls: []poll{{0, 80, 1}, {5, 80, 40}, {10, 80, 80}, {11, 100, 81}}},
		{name: "adopted: the kernel's weight stays until a reading", pool: warm, state: Adopt(60),
			polls: []poll{{0, noPoll, 60}, {5, noPoll, 60}, {6, 60, 60}}},
		{name: "adopted: a lower health applies at once", pool: warm, state: Adopt(60), polls: []poll{{0, 20, 20}, {1, 60, 60}}},
		{name: "adopted: a higher health continues the ramp-up from there", pool: warm, state: Adopt(60),
			polls: []poll{{0, 80, 60}, {10, 80, 68}, {25, 80, 80}}},
		{name: "adopted at max_weight: no ramp-up", set: func(s *Settings) { s.MaxWeight = 30 }, pool: warm, state: Adopt(30),
			polls: []poll{{0, 100, 30}, {1, 100, 30}}},
		{name: "adopted at 0: ramps up like any other", pool: warm, state: Adopt(0),
			polls: []poll{{0, noPoll, 0}, {1, 100, 1}, {51, 100, 50}}},
		{name: "adopted without a response: down after fall polls", pool: warm, state: Adopt(60),
			polls: []poll{{0, noResponse, 60}, {1, noResponse, 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, st := set, tt.state
			if tt.set != nil {
				tt.set(&set)
			}
			for _, p := range tt.polls {
				now := start.Add(p.at * time.Second)
				var steps []Step
				var got int
				st, got, steps = next(now, set, tt.pool, st, reading(now, p.health))
				if got != p.want {
					t.Fatalf("at %d s, health %d: weight %d, want %d\n%+v", p.at, p.health, got, p.want, steps)
				}
			}
		})
	}
}

// next calls Node without an override or a drain.
func next(now time.Time, set Settings, pool Pool, st State, r *Reading) (State, int, []Step) {
	return Node(now, Input{Settings: set, Pool: pool, Reading: r}, st)
}

func reading(now time.Time, health int) *Reading {
	switch health {
	case noPoll:
		return nil
	case noResponse:
		return &Reading{At: now, Detail: "connection refused"}
	}
	return &Reading{At: now, Answered: true, Health: health, Detail: fmt.Sprintf("agent reported health %d", health)}
}

func TestPoolThatComesUpTogetherDoesNotRampUp(t *testing.T) {
	set := Settings{Fall: 2, RampUp: 100 * time.Second, WarmUp: 4 * time.Second}
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	var pool Pool
	var first, second, late State
	var a, b, c int

	first, a, _ = next(at(0), set, pool, first, reading(at(0), 100))
	pool = pool.Next(at(0), true, a)
	second, b, _ = next(at(1), set, pool, second, reading(at(1), 90))
	pool = pool.Next(at(1), true, a+b)
	late, c, _ = next(at(10), set, pool, late, reading(at(10), 90))
	if a != 100 || b != 90 || c != 1 {
		t.Errorf("first %d, second a second later %d, one much later %d; want 100, 90, 1", a, b, c)
	}

	// One that fails during the warm-up was in the pool before, so it ramps up when it is back.
	var again Pool
	st, w, _ := next(at(20), set, again, State{}, reading(at(20), 100))
	again = again.Next(at(20), true, w+50)
	st, _, _ = next(at(21), set, again, st, reading(at(21), 0))
	if _, w, _ = next(at(22), set, again, st, reading(at(22), 100)); w != 1 {
		t.Errorf("back after a failure during the warm-up: weight %d, want 1", w)
	}

	// All of them fail and come back.
	first, a, _ = next(at(30), set, pool, first, reading(at(30), 0))
	second, b, _ = next(at(30), set, pool, second, reading(at(30), 0))
	pool = pool.Next(at(30), true, a+b)
	_, a, _ = next(at(40), set, pool, first, reading(at(40), 100))
	pool = pool.Next(at(40), true, a)
	_, b, _ = next(at(41), set, pool, second, reading(at(41), 90))
	if a != 100 || b != 90 {
		t.Errorf("the whole pool is back: weights %d and %d, want 100 and 90", a, b)
	}
	if late.Name() != "ramping" {
		t.Errorf("the late node is %s, want ramping", late.Name())
	}
}

// Nodes adopted at weight 0 do not ramp either when they come up together.
func TestAdoptedPoolThatComesUpTogetherDoesNotRampUp(t *testing.T) {
	set := Settings{RampUp: 100 * time.Second, WarmUp: 4 * time.Second}
	young := Pool{Since: start}
	now := start.Add(time.Second)
	if st, weight, _ := next(now, set, young, Adopt(0), reading(now, 100)); weight != 100 || st.Name() != "up" {
		t.Errorf("weight %d, %s; want 100, up", weight, st.Name())
	}
	set.MaxWeight = 30
	if st, weight, _ := next(now, set, WarmPool(now, set), Adopt(30), reading(now, 100)); weight != 30 || st.Name() != "up" {
		t.Errorf("adopted at max_weight: weight %d, %s; want 30, up", weight, st.Name())
	}
}

// A network failure right after a takeover can be suspected like any other.
func TestAdoptedNodeThatStopsRespondingIsRemembered(t *testing.T) {
	set, st := Settings{Fall: 2}, Adopt(60)
	for s := range 2 {
		now := start.Add(time.Duration(s) * time.Second)
		st, _, _ = next(now, set, Pool{}, st, reading(now, noResponse))
	}
	if st.Weight != 0 || st.FailedWeight != 60 || !st.FailedAt.Equal(start.Add(time.Second)) {
		t.Errorf("weight %d, %d before, failed at %s; want 0, 60, and the second poll", st.Weight, st.FailedWeight, st.FailedAt)
	}
}

func TestStandbyDoesNotRampUp(t *testing.T) {
	set := Settings{Fall: 2, RampUp: 100 * time.Second, WarmUp: 4 * time.Second}
	var st State
	var w int
	stopped := Pool{}
	for i, health := range []int{100, 0, 100} { // fails and is back while the cluster does not run here
		now := start.Add(time.Duration(i) * 10 * time.Second)
		st, w, _ = next(now, set, stopped, st, reading(now, health))
		stopped = stopped.Next(now, false, w)
	}
	if w != 100 || st.Name() != "up" {
		t.Errorf("weight %d (%s), want 100 (up)", w, st.Name())
	}
}

func TestStepsGiveReasons(t *testing.T) {
	set := Settings{Rise: 1, Fall: 2, RampUp: 120 * time.Second, MaxWeight: 90, WarmUp: time.Second}
	st, _, _ := next(start, set, WarmPool(start, set), Join(start), reading(start, 92))
	now := start.Add(30 * time.Second)
	_, _, got := next(now, set, WarmPool(start, set), st, reading(now, 92))
	want := []Step{
		{stageReading, 92, 92, "agent reported health 92"},
		{stageRiseFall, 92, 92, "up"},
		{stageRampUp, 92, 23, "ramping up: 30s of 2m0s, 23 of 92"},
		{stageCap, 23, 23, "max_weight is 90"},
		{stageFloor, 23, 23, "a healthy node has at least 1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, want := Why(got), "ramping up: 30s of 2m0s, 23 of 92"; got != want {
		t.Errorf("Why: %q, want %q", got, want)
	}
}

func TestWhyPicksTheDecisiveStage(t *testing.T) {
	set := Settings{Rise: 2, Fall: 2, MaxWeight: 60}
	tests := []struct {
		name   string
		health []int
		want   string
	}{
		{"no reading", []int{noPoll}, "no response yet: weight 0 until the first one"},
		{"healthy", []int{50}, "agent reported health 50"},
		{"capped", []int{70}, "max_weight is 60"},
		{"one missed poll", []int{50, noResponse}, "no response for 1 poll (fall = 2): weight kept"},
		{"failed, and time passes", []int{50, noResponse, noResponse, noPoll}, "no response for 2 polls (fall = 2): connection refused"},
		{"down, and time passes", []int{50, 0, noPoll}, "agent reported health 0"},
		{"down, then no response", []int{0, noResponse}, "down, and now no response: connection refused"},
		{"coming back", []int{0, 50}, "1 of 2 good polls (rise = 2): not up yet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var st State
			var steps []Step
			for _, health := range tt.health {
				st, _, steps = next(start, set, Pool{}, st, reading(start, health))
			}
			if got := Why(steps); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPackageHasNoIOAndNoClock(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		allowed := []string{`"cmp"`, `"fmt"`, `"math/bits"`, `"net/netip"`, `"time"`}
		for _, imp := range f.Imports {
			if !slices.Contains(allowed, imp.Path.Value) {
				t.Errorf("%s imports %s: this package does no I/O", file, imp.Path.Value)
			}
		}
		if strings.Contains(string(src), "time.Now") || strings.Contains(string(src), "time.Since") {
			t.Errorf("%s reads a clock: now is an argument", file)
		}
	}
}

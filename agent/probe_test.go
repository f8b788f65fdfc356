package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// scripted is a check that does what a test says.
type scripted struct {
	run     func(ctx context.Context, n int) check.Result // n counts runs from 1
	runs    atomic.Int32
	running atomic.Int32
	overlap atomic.Bool
}

func (s *scripted) Run(ctx context.Context) check.Result {
	if s.running.Add(1) > 1 {
		s.overlap.Store(true)
	}
	defer s.running.Add(-1)
	return s.run(ctx, int(s.runs.Add(1)))
}

func (s *scripted) Display() string { return "Dependency::Scripted(x)" }
func (s *scripted) Floor() int      { return 0 }

// clocked runs a probe with a check that a test scripts, in a bubble.
func clocked(t *testing.T, interval, timeout time.Duration, s *scripted) (*probe, *logged) {
	t.Helper()
	log := &logged{}
	a := &Agent{log: log.logger()}
	cfg := config.Check{Role: config.Dependency, Type: "scripted", Interval: interval, Timeout: timeout}
	p := newProbe("web", cfg, s, "app01", 0)
	ctx, cancel := context.WithCancel(context.Background())
	a.start(ctx, []*probe{p})
	t.Cleanup(func() {
		cancel()
		a.await([]*probe{p})
	})
	return p, log
}

func TestAProbeRunsAtOnceThenAtItsPhaseThenOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		s := &scripted{run: func(context.Context, int) check.Result {
			at = append(at, time.Since(start))
			return check.Result{OK: true}
		}}
		p, _ := clocked(t, 3*time.Second, time.Second, s)
		<-p.ran
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p.phase <= 0 || p.phase > 3*time.Second {
			t.Fatalf("phase %s is not within the interval", p.phase)
		}
		want := []time.Duration{0}
		for due := p.phase; due <= 10*time.Second; due += 3 * time.Second {
			want = append(want, due)
		}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("ran at %v, want %v", at, want)
		}
	})
}

func TestPhasesSpreadAFleet(t *testing.T) {
	const interval = 3 * time.Second
	buckets := make([]int, 6)
	for i := range 600 {
		buckets[phase(interval, fmt.Sprintf("app%02d", i), "web", "dependency", "Dependency::HTTP(http://db/)", "0")*6/(interval+1)]++
	}
	for i, n := range buckets {
		if n < 50 || n > 150 {
			t.Errorf("sixth %d of the interval has %d of 600 machines: %v", i, n, buckets)
		}
	}
}

func TestPhasesFallTogetherWhereTheIntervalHasRoom(t *testing.T) {
	for _, tc := range []struct{ interval, step time.Duration }{
		{time.Second, grain}, {10 * time.Second, grain}, {900 * time.Millisecond, 1},
	} {
		seen := map[time.Duration]bool{}
		for i := range 1000 {
			p := phase(tc.interval, fmt.Sprintf("service%d", i))
			if p <= 0 || p > tc.interval || p%tc.step != 0 {
				t.Fatalf("phase %s of interval %s", p, tc.interval)
			}
			seen[p] = true
		}
		if most := int(tc.interval / tc.step); len(seen) < min(most, 900)*9/10 {
			t.Errorf("interval %s: only %d phases are used", tc.interval, len(seen))
		}
	}
	if p := phase(1010*time.Millisecond, "x"); p > 1010*time.Millisecond {
		t.Errorf("phase %s is beyond its interval", p)
	}
}

func TestAHungCheckEndsAtItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{run: func(ctx context.Context, _ int) check.Result {
			<-ctx.Done()
			return check.Result{Detail: ctx.Err().Error()}
		}}
		p, _ := clocked(t, 3*time.Second, time.Second, s)
		time.Sleep(time.Second)
		synctest.Wait()
		r, res := p.reading()
		if r.OK || res == nil || res.Detail != context.DeadlineExceeded.Error() {
			t.Errorf("after its timeout: %+v", res)
		}
	})
}

func TestACheckThatIgnoresItsTimeoutNeverOverlapsAndGoesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{run: func(_ context.Context, n int) check.Result {
			if n == 2 {
				time.Sleep(20 * time.Second)
			}
			return check.Result{OK: true}
		}}
		p, _ := clocked(t, 3*time.Second, time.Second, s)
		<-p.ran
		health := func() int {
			r, _ := p.reading()
			return score.Measured(time.Now(), []score.Reading{r}, nil)
		}
		if got := health(); got != 100 {
			t.Fatalf("health %d at first", got)
		}
		time.Sleep(9 * time.Second)
		if got := health(); got != 100 {
			t.Errorf("health %d when the result is three intervals old", got)
		}
		time.Sleep(time.Millisecond)
		r, _ := p.reading()
		if got := health(); got != 0 || !r.Stale(time.Now()) {
			t.Errorf("health %d when the result is older than three intervals", got)
		}
		if got, want := (line{probe: p, Reading: r, result: p.latest.Load()}).detail(time.Now()), "no result for 9.001s (the interval is 3s); before that: "; got != want {
			t.Errorf("detail %q, want %q", got, want)
		}
		time.Sleep(p.phase + 20*time.Second)
		synctest.Wait()
		if got := health(); got != 100 {
			t.Errorf("health %d after it came back", got)
		}
		if s.overlap.Load() {
			t.Error("two runs at once")
		}
		// What was due during the long run is left out, not made up for.
		if n, most := int(s.runs.Load()), 2+1+int((9*time.Second+p.phase)/(3*time.Second)); n > most {
			t.Errorf("%d runs, want at most %d", n, most)
		}
	})
}

func TestChangesAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{run: func(_ context.Context, n int) check.Result {
			return check.Result{OK: n < 4 || n > 7, Detail: fmt.Sprintf("run %d", n)}
		}}
		_, log := clocked(t, 3*time.Second, time.Second, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		if fails, well := log.count("check fails", "service=web", `cause="run 4"`), log.count("check is well again", `cause="run 8"`); fails != 1 || well != 1 || log.count("") != 2 {
			t.Errorf("the log should have one line for each of two changes:\n%s", log)
		}
	})
}

func TestAResultThatChangesTheHealthIsTold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		results []check.Result
		told    string // of each run, 1 or 0
	}{
		{"the first one, a good one", []check.Result{{OK: true, Value: 1}, {OK: true, Value: 1}}, "10"},
		{"the first one, a bad one", []check.Result{{}, {}}, "10"},
		{"another value", []check.Result{{OK: true, Value: 1}, {OK: true, Value: 2}, {OK: true, Value: 2}}, "110"},
		{"well no more, and again", []check.Result{{OK: true}, {}, {}, {OK: true}}, "1101"},
		{"other words alone", []check.Result{{OK: true, Detail: "1 of 9"}, {OK: true, Detail: "2 of 9"}}, "10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scripted{run: func(_ context.Context, n int) check.Result { return tt.results[n-1] }}
			p := newProbe("web", config.Check{Interval: time.Second, Timeout: time.Second}, s, "app01", 0)
			told, now := "", "0"
			p.changed = func(string) { now = "1" }
			for range tt.results {
				now = "0"
				p.once(t.Context(), (&logged{}).logger())
				told += now
			}
			if told != tt.told {
				t.Errorf("told %s, want %s", told, tt.told)
			}
		})
	}
}

func TestARunThatTheEndCutShortIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{log: (&logged{}).logger()}
		s := &scripted{run: func(ctx context.Context, n int) check.Result {
			if n > 1 {
				<-ctx.Done()
			}
			return check.Result{OK: n == 1}
		}}
		p := newProbe("web", config.Check{Interval: 3 * time.Second, Timeout: 2 * time.Second}, s, "app01", 0)
		ctx, cancel := context.WithCancel(t.Context())
		a.start(ctx, []*probe{p})
		time.Sleep(p.phase + time.Second)
		cancel()
		a.await([]*probe{p})
		if r, _ := p.reading(); !r.OK || s.runs.Load() != 2 {
			t.Errorf("after %d runs the result is %+v, want that of the first", s.runs.Load(), r)
		}
	})
}

func TestACheckThatNeverEndsDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &scripted{run: func(context.Context, int) check.Result { <-release; return check.Result{} }}
		log := &logged{}
		a := &Agent{log: log.logger()}
		p := newProbe("web", config.Check{Interval: 3 * time.Second, Timeout: time.Second}, s, "app01", 0)
		a.start(t.Context(), []*probe{p})
		start := time.Now()
		a.await([]*probe{p})
		if took := time.Since(start); took != stopTime || log.count("does not end") != 1 {
			t.Errorf("await took %s, and logged:\n%s", took, log)
		}
		close(release)
		<-p.done
	})
}

func TestSettleWaitsForResultsWithinItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct{ takes, want time.Duration }{{300 * time.Millisecond, 300 * time.Millisecond}, {time.Minute, settleTime}} {
			s := &scripted{run: func(ctx context.Context, _ int) check.Result {
				select {
				case <-time.After(tc.takes):
				case <-ctx.Done():
				}
				return check.Result{OK: true}
			}}
			p, _ := clocked(t, time.Hour, time.Minute, s)
			start := time.Now()
			settle(t.Context(), settleTime, []*probe{p})
			if took := time.Since(start); took != tc.want {
				t.Errorf("a check of %s: settled after %s, want %s", tc.takes, took, tc.want)
			}
		}
	})
}

func TestTheLogTellsWhenAServiceGoesDownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		log := &logged{}
		a := &Agent{log: log.logger(), opts: Options{Hostname: "app01"}}
		cfg := configIn(dir, config.Service{Name: "web"})
		forces, err := a.openForces(cfg)
		if err != nil {
			t.Fatal(err)
		}
		a.forces = forces
		var failing atomic.Bool
		s := &scripted{run: func(context.Context, int) check.Result {
			if failing.Load() {
				return check.Result{Detail: "status 500"}
			}
			return check.Result{OK: true}
		}}
		p := newProbe("web", config.Check{Role: config.Dependency, Interval: time.Second, Timeout: time.Second / 2}, s, "app01", 0)
		svc := &service{name: "web", depends: []*probe{p}}
		a.current.Store(&set{cfg: cfg, services: []*service{svc}, byName: map[string]*service{"web": svc}})
		ctx, cancel := context.WithCancel(t.Context())
		a.start(ctx, []*probe{p})
		<-p.ran
		watched := make(chan struct{})
		go func() { defer close(watched); a.watch(ctx) }()
		time.Sleep(10 * time.Second)
		failing.Store(true)
		time.Sleep(10 * time.Second)
		failing.Store(false)
		time.Sleep(10 * time.Second)
		cancel()
		a.await([]*probe{p})
		<-watched
		if up, down := log.count("service is up"), log.count("service is down", "status 500"); up != 2 || down != 1 {
			t.Errorf("up %d times, down %d times, want 2 and 1:\n%s", up, down, log)
		}
	})
}

var errLoad = errors.New("lb.toml:3: nonsense")

// TestWhatWasDueManyTimesRunsOnce: a machine that slept for hours must not make up for all of its checks.
func TestWhatWasDueManyTimesRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &scripted{run: func(context.Context, int) check.Result { return check.Result{OK: true} }}
		p := newProbe("web", config.Check{Interval: 10 * time.Millisecond, Timeout: 5 * time.Millisecond}, s, "app01", 0)
		p.changed, p.cancel = func(string) {}, func() { stop(); p.end() }
		const missed = 1_000_000
		due := time.Now().Add(-missed*p.cfg.Interval - 4*time.Millisecond)
		crew, all := newCrew(), agenda{{p, ctx, due}}
		wait := all.run(time.Now(), &crew, (&logged{}).logger())
		synctest.Wait()
		if n := s.runs.Load(); n != 1 || wait != 6*time.Millisecond {
			t.Errorf("it ran %d times, and the next run is in %s, want one and 6ms", n, wait)
		}
		p.cancel()
		<-p.done
	})
}

// TestACancelledProbeBeginsNoRun: its appointment stands until it is due.
func TestACancelledProbeBeginsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{run: func(context.Context, int) check.Result { return check.Result{OK: true} }}
		p := newProbe("web", config.Check{Interval: time.Second, Timeout: time.Second}, s, "app01", 0)
		p.changed = func(string) {}
		p.end()
		<-p.done
		var crew crew
		again := p.begin(t.Context(), &crew, (&logged{}).logger())
		synctest.Wait()
		if n := s.runs.Load(); again || n != 0 {
			t.Errorf("it ran %d times, and is to run again: %v", n, again)
		}
	})
}

package schedule

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
)

// newScheduler makes a scheduler whose reports of changes nobody needs.
func newScheduler(log *agenttest.Log) *Scheduler { return New(log.Logger(), func(string) {}) }

// startJob runs a dependency of the service web until the test ends, in a bubble.
func startJob(t *testing.T, interval, timeout time.Duration, c *agenttest.Check) (*Job, *agenttest.Log) {
	t.Helper()
	log := &agenttest.Log{}
	s := newScheduler(log)
	cfg := config.Check{Role: config.Dependency, Type: "scripted", Interval: interval, Timeout: timeout}
	j := NewJob("web", cfg, c, "app01", 0)
	ctx, cancel := context.WithCancel(context.Background())
	s.Start(ctx, []*Job{j})
	t.Cleanup(func() {
		cancel()
		s.Stop([]*Job{j})
		s.Wait()
	})
	return j, log
}

func TestAJobRunsAtOnceThenAtItsPhaseThenOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		c := &agenttest.Check{Do: func(context.Context, int) check.Result {
			at = append(at, time.Since(start))
			return check.Result{OK: true}
		}}
		j, _ := startJob(t, 3*time.Second, time.Second, c)
		<-j.firstRun
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if j.phase <= 0 || j.phase > 3*time.Second {
			t.Fatalf("phase %s is not within the interval", j.phase)
		}
		want := []time.Duration{0}
		for due := j.phase; due <= 10*time.Second; due += 3 * time.Second {
			want = append(want, due)
		}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("ran at %v, want %v", at, want)
		}
	})
}

func TestAnInterruptedRunIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler(&agenttest.Log{})
		c := &agenttest.Check{Do: func(ctx context.Context, n int) check.Result {
			if n > 1 {
				<-ctx.Done()
			}
			return check.Result{OK: n == 1}
		}}
		j := NewJob("web", config.Check{Interval: 3 * time.Second, Timeout: 2 * time.Second}, c, "app01", 0)
		ctx, cancel := context.WithCancel(t.Context())
		s.Start(ctx, []*Job{j})
		time.Sleep(j.phase + time.Second)
		cancel()
		s.Stop([]*Job{j})
		if reading, _ := j.Reading(); !reading.OK || c.Runs.Load() != 2 {
			t.Errorf("after %d runs the result is %+v, want the first one", c.Runs.Load(), reading)
		}
	})
}

func TestACheckThatNeverEndsDoesNotBlockStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &agenttest.Check{Do: func(context.Context, int) check.Result { <-release; return check.Result{} }}
		log := &agenttest.Log{}
		s := newScheduler(log)
		j := NewJob("web", config.Check{Interval: 3 * time.Second, Timeout: time.Second}, c, "app01", 0)
		s.Start(t.Context(), []*Job{j})
		start := time.Now()
		s.Stop([]*Job{j})
		if took := time.Since(start); took != stopTimeout || log.Count("did not stop in time") != 1 {
			t.Errorf("Stop took %s, and logged:\n%s", took, log)
		}
		close(release)
		<-j.done
	})
}

func TestWaitForResultsWaitsWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2 * time.Second
		for _, tc := range []struct{ takes, want time.Duration }{{300 * time.Millisecond, 300 * time.Millisecond}, {time.Minute, limit}} {
			c := &agenttest.Check{Do: func(ctx context.Context, _ int) check.Result {
				select {
				case <-time.After(tc.takes):
				case <-ctx.Done():
				}
				return check.Result{OK: true}
			}}
			j, _ := startJob(t, time.Hour, time.Minute, c)
			start := time.Now()
			WaitForResults(t.Context(), limit, []*Job{j})
			if took := time.Since(start); took != tc.want {
				t.Errorf("a check of %s: waited %s, want %s", tc.takes, took, tc.want)
			}
		}
	})
}

// A machine that slept for hours must not make up for all of its runs.
func TestAJobThatIsManyIntervalsLateRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := agenttest.Passing()
		j := NewJob("web", config.Check{Interval: 10 * time.Millisecond, Timeout: 5 * time.Millisecond}, c, "app01", 0)
		j.cancel = func() { cancel(); j.stop() }
		const missed = 1_000_000
		due := time.Now().Add(-missed*j.Config.Interval - 4*time.Millisecond)
		pool, runs := newPool(), queue{{j, ctx, due}}
		wait := runs.startDue(time.Now(), &pool, new(agenttest.Log).Logger())
		synctest.Wait()
		if n := c.Runs.Load(); n != 1 || wait != 6*time.Millisecond {
			t.Errorf("it ran %d times, and the next run is in %s, want one and 6ms", n, wait)
		}
		j.cancel()
		<-j.done
	})
}

package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
)

// runners makes probes whose checks all run until release is closed, and then at once.
func runners(n int, release <-chan struct{}) (probes []*probe, checks []*scripted) {
	for range n {
		s := &scripted{run: func(context.Context, int) check.Result { <-release; return check.Result{OK: true} }}
		p := newProbe("web", config.Check{Interval: time.Second}, s, "app01", 0)
		p.changed = func(string) {}
		probes = append(probes, p)
		checks = append(checks, s)
	}
	return probes, checks
}

func TestACrewKeepsAsManyGoroutinesAsAreOfUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 3 * maxIdle
		ctx, stop := context.WithCancel(t.Context())
		c, log := newCrew(), (&logged{}).logger()
		release := make(chan struct{})
		probes, checks := runners(many, release)
		runAll := func() {
			for _, p := range probes {
				p.begin(ctx, &c, log)
			}
			synctest.Wait()
		}

		runAll()
		for i, s := range checks {
			if s.running.Load() != 1 {
				t.Errorf("run %d has not begun while the others go on", i)
			}
		}
		close(release)
		synctest.Wait()
		if n := c.idle.Load(); n != maxIdle {
			t.Errorf("after %d runs at once %d goroutines wait, want %d", many, n, maxIdle)
		}

		runAll()
		for i, s := range checks {
			if n := s.runs.Load(); n != 2 {
				t.Errorf("check %d ran %d times, want 2", i, n)
			}
		}
		stop()
		synctest.Wait()
		if n := c.idle.Load(); n != 0 {
			t.Errorf("%d goroutines wait after the end of their probes", n)
		}
	})
}

func TestAFreeGoroutineTakesTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		c, log := newCrew(), (&logged{}).logger()
		release := make(chan struct{})
		close(release)
		probes, _ := runners(1, release)
		for range 10 {
			probes[0].begin(ctx, &c, log)
			synctest.Wait()
			if n := c.idle.Load(); n != 1 {
				t.Fatalf("%d goroutines wait for one check that runs again and again, want 1", n)
			}
		}
	})
}

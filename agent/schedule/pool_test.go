package schedule

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
)

// blockedJobs makes jobs whose checks all block until release is closed.
func blockedJobs(n int, release <-chan struct{}) (jobs []*Job, checks []*agenttest.Check) {
	for range n {
		c := &agenttest.Check{Do: func(context.Context, int) check.Result { <-release; return check.Result{OK: true} }}
		j := NewJob("web", config.Check{Interval: time.Second}, c, "app01", 0)
		jobs = append(jobs, j)
		checks = append(checks, c)
	}
	return jobs, checks
}

func TestThePoolStartsEveryRunAtOnceAndKeepsALimitedNumberOfIdleWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 3 * maxIdle
		ctx, stop := context.WithCancel(t.Context())
		pool, log := newPool(), new(agenttest.Log).Logger()
		release := make(chan struct{})
		jobs, checks := blockedJobs(many, release)
		runAll := func() {
			for _, j := range jobs {
				j.start(ctx, &pool, log)
			}
			synctest.Wait()
		}

		runAll()
		for i, c := range checks {
			if c.InProgress.Load() != 1 {
				t.Errorf("run %d has not started while the others are in progress", i)
			}
		}
		close(release)
		synctest.Wait()
		if n := pool.idle.Load(); n != maxIdle {
			t.Errorf("after %d parallel runs %d workers are idle, want %d", many, n, maxIdle)
		}

		runAll()
		for i, c := range checks {
			if n := c.Runs.Load(); n != 2 {
				t.Errorf("check %d ran %d times, want 2", i, n)
			}
		}
		stop()
		synctest.Wait()
		if n := pool.idle.Load(); n != 0 {
			t.Errorf("%d workers are left after their jobs were cancelled", n)
		}
	})
}

func TestAnIdleWorkerIsReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		pool, log := newPool(), new(agenttest.Log).Logger()
		release := make(chan struct{})
		close(release)
		jobs, _ := blockedJobs(1, release)
		for range 10 {
			jobs[0].start(ctx, &pool, log)
			synctest.Wait()
			if n := pool.idle.Load(); n != 1 {
				t.Fatalf("%d idle workers for one job that runs repeatedly, want 1", n)
			}
		}
	})
}

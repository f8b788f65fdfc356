// Package schedule runs the checks of services, each once per interval, and keeps the latest result of each.
package schedule

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// stopTimeout bounds how long Stop waits for runs in progress.
const stopTimeout = 3 * time.Second

// Scheduler starts the runs of jobs when they are due. Its methods belong to one goroutine.
type Scheduler struct {
	log     *slog.Logger
	changed func(service string)
	pool    pool
	timers  sync.WaitGroup // one goroutine for each call of Start
}

// New returns a scheduler without jobs. changed is called, by any goroutine, after a result that may change the
// service's health.
func New(log *slog.Logger, changed func(service string)) *Scheduler {
	return &Scheduler{log: log, changed: changed, pool: newPool()}
}

// Start runs each job now, again after its phase, and then once per interval, until ctx ends or the job is
// stopped. One goroutine times all of them: a goroutine and a timer for each of a thousand jobs would mostly
// sleep.
func (s *Scheduler) Start(ctx context.Context, jobs []*Job) {
	now := time.Now()
	var runs queue
	for _, j := range jobs {
		jobCtx, cancel := context.WithCancel(ctx)
		j.changed = s.changed
		j.cancel = func() { cancel(); j.stop() }
		runs = append(runs, &nextRun{j, jobCtx, now.Add(j.phase)})
		j.start(jobCtx, &s.pool, s.log)
	}
	s.timers.Go(func() { runs.serve(ctx, &s.pool, s.log) })
}

// Stop cancels jobs and waits for their runs, for 3 seconds at most: a process that the kernel cannot kill
// (blocked on a dead NFS server, say) must not hold up the agent.
func (s *Scheduler) Stop(jobs []*Job) {
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	for _, j := range jobs {
		j.cancel()
	}
	for _, j := range jobs {
		select {
		case <-j.done:
		case <-timer.C:
			s.log.Error("check did not stop in time and was abandoned", "service", j.Service, "check", j.Name)
			return
		}
	}
}

// Wait returns when the context of every Start has ended, or all of its jobs are stopped.
func (s *Scheduler) Wait() { s.timers.Wait() }

// WaitForResults waits until every job has a result, for the given time at most.
func WaitForResults(ctx context.Context, limit time.Duration, jobs []*Job) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, j := range jobs {
		select {
		case <-j.firstRun:
		case <-ctx.Done():
			return
		}
	}
}

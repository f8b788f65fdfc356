package schedule

import (
	"container/heap"
	"context"
	"log/slog"
	"time"
)

// queue holds the next run of each job, earliest first; see container/heap.
type queue []*nextRun

type nextRun struct {
	job *Job
	ctx context.Context // the job's: ends with it
	at  time.Time
}

// Len and the methods below are for container/heap.
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*nextRun)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

// serve starts runs when they are due, until ctx ends or no job is left. It never waits for a run.
func (q *queue) serve(ctx context.Context, pool *pool, log *slog.Logger) {
	heap.Init(q)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(*q) > 0 {
		select {
		case <-ctx.Done():
			for _, next := range *q {
				next.job.cancel()
			}
			return
		case <-timer.C:
		}
		timer.Reset(q.startDue(time.Now(), pool, log))
	}
}

// startDue starts the runs that are due, removes cancelled jobs, and returns the time until the next run. A
// job that is overdue by several intervals, because the machine was busy or suspended, runs once.
func (q *queue) startDue(now time.Time, pool *pool, log *slog.Logger) time.Duration {
	for len(*q) > 0 {
		next := (*q)[0]
		late := now.Sub(next.at)
		if late < 0 {
			return -late
		}
		if !next.job.start(next.ctx, pool, log) {
			heap.Pop(q)
			continue
		}
		interval := next.job.Config.Interval
		next.at = next.at.Add(late.Truncate(interval) + interval)
		heap.Fix(q, 0)
	}
	return 0
}

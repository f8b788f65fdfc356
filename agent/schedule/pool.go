package schedule

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// maxIdle is the maximum number of idle workers, about as many as run at the same moment. Each keeps a stack
// of a few KiB.
const maxIdle = 64

// pool runs jobs on worker goroutines and never queues: if no worker is idle it starts one. Workers are
// reused because a new goroutine first has to grow its stack, which costs as much as a short check. Make it
// with newPool; the zero pool works, but never reuses a worker.
type pool struct {
	tasks chan task
	idle  atomic.Int32 // workers that wait for a task, or are about to
}

// task is one run of a job.
type task struct {
	job *Job
	ctx context.Context // the job's
	log *slog.Logger
}

func newPool() pool { return pool{tasks: make(chan task)} }

// run starts the task at once and does not wait for its end.
func (p *pool) run(t task) {
	select {
	case p.tasks <- t:
	default: // no worker is idle
		go p.work(t)
	}
}

// work runs t and then further tasks, until the job it ran last is cancelled or enough other workers are idle.
func (p *pool) work(t task) {
	for {
		t.job.run(t.ctx, t.log)
		if p.idle.Add(1) > maxIdle {
			p.idle.Add(-1)
			return
		}
		select {
		case t = <-p.tasks:
			p.idle.Add(-1)
		case <-t.ctx.Done():
			p.idle.Add(-1)
			return
		}
	}
}

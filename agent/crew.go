package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// maxIdle is how many goroutines of a crew wait for a next run at most: about as many as run at one moment. Each keeps a stack of a few KiB.
const maxIdle = 64

// crew runs probes, each in a goroutine of its own for that time. One that has ended its run takes a next one: a new goroutine would first have
// to grow its stack, which costs as much as a short check. Make it with newCrew; the zero crew works, but nobody in it takes a second run.
type crew struct {
	work chan task
	idle atomic.Int32 // goroutines that wait for work, or are about to
}

// task is one run of a probe.
type task struct {
	probe *probe
	ctx   context.Context // of the probe
	log   *slog.Logger
}

func newCrew() crew { return crew{work: make(chan task)} }

// run begins a run at once, and does not wait for its end.
func (c *crew) run(t task) {
	select {
	case c.work <- t:
	default: // nobody is free
		go c.serve(t)
	}
}

// serve runs t and what comes after it, until the probe of its latest run ends or enough others wait.
func (c *crew) serve(t task) {
	for {
		t.probe.run(t.ctx, t.log)
		if c.idle.Add(1) > maxIdle {
			c.idle.Add(-1)
			return
		}
		select {
		case t = <-c.work:
			c.idle.Add(-1)
		case <-t.ctx.Done():
			c.idle.Add(-1)
			return
		}
	}
}

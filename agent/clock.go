package agent

import (
	"container/heap"
	"context"
	"log/slog"
	"time"
)

// agenda are probes by when they are due, the soonest first; see container/heap.
type agenda []*appointment

// appointment is a probe's next run.
type appointment struct {
	probe *probe
	ctx   context.Context // of the probe: it ends with it
	at    time.Time
}

// Len and the methods below are for container/heap.
func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(*appointment)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

// start runs the probes at once, then at their phase, then once an interval, until ctx ends or they are cancelled. One goroutine is the clock
// of all: a thousand of them that mostly sleep would each keep a stack and a timer.
func (a *Agent) start(ctx context.Context, probes []*probe) {
	begun := time.Now()
	var all agenda
	for _, p := range probes {
		own, cancel := context.WithCancel(ctx)
		p.changed = a.streams.refresh
		p.cancel = func() { cancel(); p.end() }
		all = append(all, &appointment{p, own, begun.Add(p.phase)})
		p.begin(own, &a.crew, a.log)
	}
	heap.Init(&all)
	a.clocks.Go(func() { all.keep(ctx, &a.crew, a.log) })
}

// keep begins runs when they are due, until ctx ends or no probe is left. It never waits for a run.
func (a *agenda) keep(ctx context.Context, by *crew, log *slog.Logger) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(*a) > 0 {
		select {
		case <-ctx.Done():
			for _, next := range *a {
				next.probe.cancel()
			}
			return
		case <-timer.C:
		}
		timer.Reset(a.run(time.Now(), by, log))
	}
}

// run begins what is due, takes out what was cancelled, and gives how long nothing is due. What was due more than once by now, because
// the machine was busy or asleep, is run once.
func (a *agenda) run(now time.Time, by *crew, log *slog.Logger) time.Duration {
	for len(*a) > 0 {
		next := (*a)[0]
		late := now.Sub(next.at)
		if late < 0 {
			return -late
		}
		if !next.probe.begin(next.ctx, by, log) {
			heap.Pop(a)
			continue
		}
		interval := next.probe.cfg.Interval
		next.at = next.at.Add(late.Truncate(interval) + interval)
		heap.Fix(a, 0)
	}
	return 0
}

package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/ipvs"
)

// Start runs a cluster and returns when the kernel has it, with weights. It tells whether anything changed.
func (e *engine) Start(ctx context.Context, name, who string) (bool, error) {
	return e.command(ctx, func(ctx context.Context, answer chan outcome) { e.startCluster(ctx, name, who, answer) })
}

// Stop takes a cluster out of the kernel. It tells whether anything changed.
func (e *engine) Stop(ctx context.Context, name, who string) (bool, error) {
	return e.command(ctx, func(ctx context.Context, answer chan outcome) { e.stopCluster(ctx, name, who, answer) })
}

// command has the owner begin something and waits for its outcome.
func (e *engine) command(ctx context.Context, begin func(context.Context, chan outcome)) (bool, error) {
	answer := make(chan outcome, 1)
	if err := e.do(ctx, func(ctx context.Context) { begin(ctx, answer) }); err != nil {
		return false, err
	}
	select {
	case o := <-answer:
		return o.changed, o.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// startAutostart begins to start what the config wants running.
func (e *engine) startAutostart(now time.Time) {
	for _, c := range e.clusters {
		e.autostart(now, c)
	}
}

func (e *engine) autostart(now time.Time, c *cluster) {
	if c.cfg.Autostart && !c.running {
		e.tellStart(c, "autostart")
		c.start = &start{deadline: now.Add(c.cfg.CheckTimeout)}
	}
}

func (e *engine) tellStart(c *cluster, cause string) {
	ev := c.about(event.ClusterStarting, "cluster starts")
	ev.Cause = cause
	e.tell(slog.LevelInfo, ev)
}

// startCluster begins a start: it waits for the first readings, so that the kernel gets true weights at once.
func (e *engine) startCluster(ctx context.Context, name, who string, answer chan outcome) {
	c, err := e.find(name)
	switch {
	case err != nil:
		answer <- outcome{err: err}
		return
	case !e.adopted && c.start == nil:
		e.cycle(ctx) // it may be running already
	}
	switch {
	case c.running:
		answer <- outcome{err: c.failed(e, "runs")}
		return
	case c.start == nil:
		e.tellStart(c, "asked by "+who)
		c.start = &start{deadline: time.Now().Add(c.cfg.CheckTimeout)}
	}
	c.start.waiting = append(c.start.waiting, answer)
}

// ripen finishes the starts that have the readings they wait for, or have waited long enough.
func (e *engine) ripen(ctx context.Context) {
	var ripe []*cluster
	now := time.Now()
	for _, c := range e.clusters {
		if c.start != nil && (c.known() && !c.start.again || !now.Before(c.start.deadline)) {
			ripe = append(ripe, c)
		}
	}
	if len(ripe) == 0 {
		return
	}
	if !e.adopted {
		e.cycle(ctx) // what runs already keeps its weights: not before the table was read
	}
	for _, c := range ripe {
		if e.adopted && !c.running {
			c.running, c.strange = true, false
			e.unretire(c)
			c.pass(now)
			c.settle(now) // it runs from now on
		}
	}
	e.cycle(ctx)
	for _, c := range ripe {
		o := outcome{changed: true, err: c.failed(e, "starts")}
		if !e.adopted {
			c.start.deadline, c.start.again = time.Now().Add(e.interval()), true
			for _, answer := range c.start.waiting {
				answer <- o
			}
			c.start.waiting = nil
			continue
		}
		ev := c.about(event.ClusterStarted, "cluster runs")
		ev.Err, ev.Nodes = c.trouble, c.tally()
		e.tell(slog.LevelInfo, ev)
		for _, answer := range c.start.waiting {
			answer <- o
		}
		c.start = nil
	}
}

// failed is what keeps the kernel from having the cluster as it should be; nil when nothing does.
func (c *cluster) failed(e *engine, verb string) error {
	if t := troubles(e.trouble, c.trouble); t != "" {
		return fmt.Errorf("cluster %s %s, but the kernel refuses: %s; lb tries again every %s", c.cfg.Name, verb, t, e.interval())
	}
	return nil
}

// stopCluster takes a cluster out of the kernel, also one that somebody else put there.
func (e *engine) stopCluster(ctx context.Context, name, who string, answer chan outcome) {
	c, err := e.find(name)
	if err != nil {
		answer <- outcome{err: err}
		return
	}
	if !c.running {
		e.look(ctx) // somebody may have put it there by hand
	}
	was := c.running || c.start != nil
	if !was && e.trouble == "" && !e.hasAny(c.marks()) {
		answer <- outcome{}
		return
	}
	ev := c.about(event.ClusterStopped, "cluster stops")
	ev.Cause = "asked by " + who
	e.tell(slog.LevelInfo, ev)
	if c.start != nil {
		for _, waiting := range c.start.waiting {
			waiting <- outcome{err: fmt.Errorf("cluster %s was stopped while it started", name)}
		}
	}
	c.running, c.start, c.left = false, nil, nil
	c.settle(time.Now())
	for _, m := range c.marks() {
		e.retired[m] = retirement{cause: "stopped by " + who}
	}
	e.cycle(ctx)
	if e.trouble != "" || e.hasAny(c.marks()) {
		err := errors.New(troubles(e.trouble, c.trouble))
		answer <- outcome{err: fmt.Errorf("stop cluster %s: %w; lb tries again every %s", name, err, e.interval())}
		return
	}
	answer <- outcome{changed: true}
}

// abandonStarts answers those that still wait.
func (e *engine) abandonStarts() {
	for _, c := range e.clusters {
		if c.start == nil {
			continue
		}
		for _, answer := range c.start.waiting {
			answer <- outcome{err: api.ErrStopping}
		}
	}
}

// has tells whether the kernel's table, as last read, has a service of that mark.
func (e *engine) has(m ipvs.Mark) bool {
	return slices.ContainsFunc(e.actual, func(s ipvs.Service) bool { return s.Mark == m })
}

package balancer

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/watch"
)

// dryPolls is how many nodes a dry run asks at a time.
const dryPolls = 64

// DryRun asks every node once, reads the kernel's tables, and prints what lb balance would change if it started now. It touches nothing.
func DryRun(ctx context.Context, o Options, w io.Writer) error {
	cfg, err := o.Load()
	if err != nil {
		return err
	}
	e := newEngine(o)
	e.configure(cfg)
	drains, err := drain.Read(cfg.Balancer.DataDir)
	if err != nil {
		return err
	}
	r, err := e.rehearse(ctx, drains)
	if err != nil {
		return err
	}
	r.adoptRunning(time.Now())
	r.pollOnce(ctx)
	r.startAutostart(time.Now())
	if len(r.launch(ctx)) == 0 {
		r.cycle(ctx)
	}
	p, err := r.planned(ctx)
	if err != nil {
		return err
	}
	out := &printer{w: w}
	for _, c := range p.Changes {
		out.line("%s", c.Change)
	}
	if len(p.Changes) == 0 {
		out.line("nothing to change")
	}
	for _, c := range r.clusters {
		if !c.running {
			out.line("cluster %s stays stopped: the kernel has no mark %d and autostart is off; `lb ctl cluster start %s` would do:", c.cfg.Name, c.cfg.Mark, c.cfg.Name)
			if err := r.printStart(ctx, out, c); err != nil {
				return err
			}
		}
	}
	return out.err
}

// printStart prints what the start of a stopped cluster would do besides.
func (r *rehearsal) printStart(ctx context.Context, out *printer, c *cluster) error {
	var err error
	if r.table, err = r.engine.table.Dump(ctx); err != nil {
		return err
	}
	if r.rules, err = r.marks.List(ctx); err != nil {
		return err
	}
	c.start = &start{}
	r.launch(ctx)
	p, err := r.planned(ctx)
	for _, change := range p.Changes {
		if change.Cluster == c.cfg.Name {
			out.line("  %s", change.Change)
		}
	}
	return err
}

// pollOnce asks every node once and decides the weights.
func (e *engine) pollOnce(ctx context.Context) {
	var polls sync.WaitGroup
	slots := make(chan struct{}, dryPolls)
	readings := map[*node]*decide.Reading{}
	for _, c := range e.clusters {
		for _, n := range c.nodes {
			if n.remote != nil {
				continue
			}
			r := &decide.Reading{}
			readings[n] = r
			polls.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				ctx, cancel := context.WithTimeout(ctx, c.cfg.CheckTimeout)
				defer cancel()
				p := e.poller(n.cfg)
				defer p.Close()
				*r = p.Poll(ctx)
			})
		}
	}
	sites := e.pollSites(ctx, &polls)
	polls.Wait()
	now := time.Now()
	for _, c := range e.clusters {
		for _, n := range c.nodes {
			c.weigh(now, n, readings[n])
		}
		for _, s := range c.sites {
			e.hear(now, c, s, *sites[s])
		}
		c.settle(now)
	}
}

// pollSites asks every balancer of another data centre once; the readings are there when polls are over.
func (e *engine) pollSites(ctx context.Context, polls *sync.WaitGroup) map[*site]*watch.SiteReading {
	readings := map[*site]*watch.SiteReading{}
	for _, c := range e.clusters {
		for _, s := range c.sites {
			r := &watch.SiteReading{}
			readings[s] = r
			polls.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, c.cfg.CheckTimeout)
				defer cancel()
				p := e.sitePoller(c.cfg, s.cfg)
				defer p.Close()
				*r = p.Poll(ctx)
			})
		}
	}
	return readings
}

// printer prints lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

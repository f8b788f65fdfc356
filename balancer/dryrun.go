package balancer

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/netx/ipvs"
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
	e.tellDrains(time.Now(), drains)
	rules, err := e.marks.List(ctx)
	if err != nil {
		return fmt.Errorf("read the kernel's marking rules: %w", err)
	}
	if e.actual, err = e.table.Dump(ctx); err != nil {
		return fmt.Errorf("read the kernel's load-balancing table: %w", err)
	}
	now := time.Now()
	for _, c := range e.clusters {
		if e.has(c.mark()) {
			c.adopt(now, e.actual)
		}
	}
	e.readFiles()
	e.pollOnce(ctx)
	out := &printer{w: w}
	for _, op := range plan.Marks(markRules(cfg.Clusters), rules) {
		out.line("%s", op)
	}
	if cfg.Balancer.Sync.Interface != "" {
		running, err := e.table.Daemons(ctx)
		if err != nil {
			return err
		}
		for _, s := range syncSteps(cfg.Balancer.Sync, running) {
			out.line("%s", s)
		}
	}
	var stopped []*cluster
	for _, c := range e.clusters {
		if !c.running && !c.cfg.Autostart {
			stopped = append(stopped, c)
			continue
		}
		out.plan("", e.planFor(now, c))
	}
	if out.lines == 0 {
		out.line("nothing to change")
	}
	for _, c := range stopped {
		out.line("cluster %s stays stopped: the kernel has no mark %d and autostart is off; `lb ctl cluster start %s` would do:", c.cfg.Name, c.cfg.Mark, c.cfg.Name)
		out.plan("  ", e.planFor(now, c))
	}
	return out.err
}

// planFor is what would be done for one cluster, were it to run.
func (e *engine) planFor(now time.Time, c *cluster) plan.Plan {
	c.running = true
	owned := map[ipvs.Mark]bool{}
	for _, m := range c.marks() {
		owned[m] = true
	}
	return plan.Make(c.services(now, e.actual), e.actual, owned)
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
	w     io.Writer
	lines int
	err   error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
	p.lines++
}

func (p *printer) plan(indent string, ops plan.Plan) {
	for _, op := range ops {
		p.line("%s%s", indent, op)
	}
}

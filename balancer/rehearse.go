package balancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// rehearsal is a copy of an engine at work on copies of the kernel's tables. What is done there, the engine would do to the kernel.
type rehearsal struct {
	*engine
	table   []ipvs.Service       // as the kernel has it
	had     map[ipvs.Mark]string // clusters, as the engine has them before anything is done, by their marks
	rules   []mark.Rule          // as the kernel has them
	daemons []ipvs.Daemon        // as the kernel has them
}

// rehearse makes a rehearsal on the kernel's tables of now. It runs in the owner; what is done with the rehearsal need not.
func (e *engine) rehearse(ctx context.Context, drains []drain.Drain) (*rehearsal, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kernelTimeout)
	defer cancel()
	services, err := e.table.Dump(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's load-balancing table: %w", err)
	}
	rules, err := e.marks.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's marking rules: %w", err)
	}
	daemons, err := e.table.Daemons(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's sync daemons: %w", err)
	}
	table, marks := ipvs.NewMemory(), mark.NewMemory()
	table.Seed(services...)
	for _, d := range daemons {
		err = errors.Join(err, table.StartDaemon(ctx, d))
	}
	if err := errors.Join(err, marks.Set(ctx, rules)); err != nil {
		return nil, fmt.Errorf("copy the kernel's tables: %w", err)
	}
	c := newEngine(Options{Table: table, Marks: marks, NewPoller: e.poller, NewSitePoller: e.sitePoller})
	c.rehearses, c.drains = true, drain.NewMemory(drains)
	c.ending.Store(true) // no drain that is over is taken away or recorded
	c.pages, c.overrides = e.pages, overrides{dir: e.overrides.dir, strays: maps.Clone(e.overrides.strays)}
	c.location, c.relayAddress = e.location, e.relayAddress
	c.sync, c.synced, c.syncedAs = e.sync, e.synced, e.syncedAs
	c.adopted, c.started, c.retired = e.adopted, true, maps.Clone(e.retired)
	c.actual, c.read = services, time.Now()
	r := &rehearsal{engine: c, table: services, rules: rules, daemons: daemons, had: map[ipvs.Mark]string{}}
	for _, k := range e.clusters {
		c.clusters = append(c.clusters, k.copy())
		for _, m := range k.marks() {
			r.had[m] = k.cfg.Name
		}
	}
	return r, nil
}

// copy makes a cluster that knows the same, and that nobody waits for, watches, or serves a page for.
func (c *cluster) copy() *cluster {
	k, nothing := *c, func() {}
	k.members, k.nodes, k.sites = nil, make([]*node, len(c.nodes)), make([]*site, len(c.sites))
	k.left, k.parted = maps.Clone(c.left), maps.Clone(c.parted)
	sites := map[*site]*site{}
	for i, s := range c.sites {
		t := *s
		t.unwatch = nothing
		k.sites[i], sites[s] = &t, &t
	}
	for i, n := range c.nodes {
		m := *n
		m.unwatch = nothing
		if n.remote != nil {
			r := *n.remote
			r.holder = sites[r.holder]
			m.remote = &r
		}
		k.nodes[i] = &m
	}
	if c.start != nil {
		k.start = &start{deadline: c.start.deadline, again: c.start.again}
	}
	if c.served != nil {
		s := *c.served
		s.stop = nothing
		k.served = &s
	}
	return &k
}

// launch runs the clusters that start, at once: what their nodes have not answered by now, a plan does not wait for. It names them.
func (r *rehearsal) launch(ctx context.Context) []*cluster {
	var begun []*cluster
	for _, c := range r.clusters {
		if c.start != nil {
			c.start.deadline, c.start.again = time.Time{}, false
			begun = append(begun, c)
		}
	}
	r.ripen(ctx)
	return begun
}

// Plan tells what the engine would change in the kernel now or, with a config, what a reload with that would change. It changes nothing.
func (e *engine) Plan(ctx context.Context, cfg *config.Config) (api.Plan, error) {
	e.planning.Lock()
	defer e.planning.Unlock()
	var r *rehearsal
	var err error
	if busy := e.do(ctx, func(ctx context.Context) { r, err = e.rehearse(ctx, e.drains.All()) }); busy != nil {
		return api.Plan{}, busy
	}
	if err != nil {
		return api.Plan{}, err
	}
	if cfg == nil {
		r.cycle(ctx)
		return r.planned(ctx)
	}
	if r.pages, err = loadPages(cfg.Clusters); err != nil {
		return api.RefusedPlan(err), nil
	}
	_, gone, _ := r.match(cfg.Clusters)
	guarded := r.guard(gone)
	if err := r.reload(ctx, cfg, true); err != nil {
		return api.RefusedPlan(err), nil
	}
	begun := r.launch(ctx)
	p, err := r.planned(ctx)
	for _, c := range begun {
		p.Notes = append(p.Notes, fmt.Sprintf("cluster %s starts when its nodes have answered, or after %s", c.cfg.Name, c.cfg.CheckTimeout))
	}
	if guarded != nil {
		p.Refused, p.Forcible = guarded.Error(), true
	}
	return p, err
}

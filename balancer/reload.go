package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Reload replaces the config. An error means that nothing has changed.
func (e *engine) Reload(ctx context.Context, cfg *config.Config) error {
	return e.replace(ctx, cfg, false)
}

// replace is Reload; force is past the guard.
func (e *engine) replace(ctx context.Context, cfg *config.Config, force bool) error {
	pages, err := loadPages(cfg.Clusters)
	if err != nil {
		return err
	}
	if busy := e.do(ctx, func(ctx context.Context) {
		before := e.pages
		e.pages = pages
		if err = e.reload(ctx, cfg, force); err != nil {
			e.pages = before
		}
	}); busy != nil {
		return busy
	}
	return err
}

// reload runs in the owner. What a cluster is in the kernel goes on until its successor is there: first the new services and what is
// changed in place, then the marks, then the services that nothing leads to any more.
func (e *engine) reload(ctx context.Context, cfg *config.Config, force bool) error {
	next, gone, joined := e.match(cfg.Clusters)
	if err := e.guard(gone); err != nil && !force {
		return err
	}
	if err := e.moveDrains(next, cfg.Clusters); err != nil {
		return err
	}
	now := time.Now()
	e.location, e.relayAddress = cfg.Balancer.Location, cfg.Balancer.RelayAddress
	e.sync = cfg.Balancer.Sync
	old := map[ipvs.Mark]string{} // marks of running clusters before, and whose
	for _, c := range e.clusters {
		if c.running {
			for _, m := range c.marks() {
				old[m] = c.cfg.Name
			}
		}
	}
	for i, c := range next {
		was := c.cfg
		c.cfg = cfg.Clusters[i]
		e.reconfigure(now, c, was.Name)
	}
	for _, c := range gone {
		e.dismiss(c)
	}
	e.clusters = next
	e.overrides.dir = cfg.Balancer.OverrideDir
	e.sort()
	for _, c := range next {
		if c.running {
			for _, m := range c.marks() {
				delete(old, m)
			}
		}
	}
	e.watch(ctx)
	e.look(ctx)
	for _, c := range joined {
		if _, ours := old[c.mark()]; !ours && e.adopted && e.has(c.mark()) {
			e.adoptCluster(now, c)
		}
		e.autostart(now, c)
	}
	e.markWait = markCycles // not in this one
	e.cycle(ctx)
	for m, name := range old {
		e.retired[m] = retirement{cause: "cluster " + name + " left this mark with a reload", afterMarks: true}
	}
	e.markWait = 0
	e.cycle(ctx)
	return nil
}

// match pairs the new config's clusters with the present ones: by name, and one that was renamed by its mark. It gives the
// clusters of the new config in its order, those that are gone, and those that are new.
func (e *engine) match(configs []config.Cluster) (next, gone, joined []*cluster) {
	taken := map[*cluster]bool{}
	next = make([]*cluster, len(configs))
	for i, cfg := range configs {
		if c, err := e.find(cfg.Name); err == nil {
			next[i], taken[c] = c, true
		}
	}
	for i, cfg := range configs {
		if next[i] != nil {
			continue
		}
		at := slices.IndexFunc(e.clusters, func(c *cluster) bool { return !taken[c] && c.cfg.Mark == cfg.Mark })
		if at >= 0 {
			next[i], taken[e.clusters[at]] = e.clusters[at], true
			continue
		}
		next[i] = &cluster{}
		joined = append(joined, next[i])
	}
	for _, c := range e.clusters {
		if !taken[c] {
			gone = append(gone, c)
		}
	}
	return next, gone, joined
}

// guard refuses a config that would take down more than half of what runs.
func (e *engine) guard(gone []*cluster) error {
	running := 0
	for _, c := range e.clusters {
		if c.running {
			running++
		}
	}
	var names []string
	for _, c := range gone {
		if c.running {
			names = append(names, c.cfg.Name)
		}
	}
	if 2*len(names) <= running {
		return nil
	}
	return fmt.Errorf("the new config leaves out %d of the %d clusters that run (%s), which is hardly meant: if it is, force it with `lb ctl reload --force`, or stop each of them first with `lb ctl cluster stop NAME`",
		len(names), running, strings.Join(names, ", "))
}

// reconfigure brings a cluster's nodes in line with its new config.
func (e *engine) reconfigure(now time.Time, c *cluster, was string) {
	joining := decide.State{}
	if c.running {
		joining = decide.Join(now)
	}
	kept := map[*watch.Watcher]bool{}
	old := c.nodes
	c.setNodes(c.cfg.Nodes, joining)
	c.setSites(c.cfg.Sites)
	for _, n := range c.keepRemotes(old) {
		e.sayMember(c, n, event.MemberLeft, "another data centre's balancer gets packets no more", "the new config has no site that may list it, or has it among its own nodes")
	}
	for _, n := range c.nodes {
		kept[n.watch] = true
	}
	for _, n := range old {
		if !kept[n.watch] && n.unwatch != nil {
			n.unwatch()
		}
	}
	if was != "" && was != c.cfg.Name {
		ev := c.about(event.ClusterRenamed, "cluster renamed: it has the mark of one that is gone and goes on as it was")
		ev.Old, ev.New = was, c.cfg.Name
		e.tell(slog.LevelInfo, ev)
	}
}

// dismiss lets go of a cluster that left the config.
func (e *engine) dismiss(c *cluster) {
	if c.running {
		ev := c.about(event.ClusterStopped, "cluster stops")
		ev.Cause = "the new config leaves it out"
		e.tell(slog.LevelInfo, ev)
	}
	c.closePage()
	c.unwatch()
	if c.start != nil {
		for _, answer := range c.start.waiting {
			answer <- outcome{err: errors.New("the cluster left the config while it started")}
		}
	}
}

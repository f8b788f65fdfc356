package balancer

import (
	"context"
	"sync"
	"time"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
)

// watchers run a watcher for each node and site of the model. The goroutine that owns the model uses them.
type watchers struct {
	poller     func(config.Node) watch.Poller
	sitePoller func(config.Cluster, config.Site) watch.SitePoller
	heartbeats *watch.HeartbeatMonitor // of all streams
	updates    chan watch.Update
	siteUpdate chan watch.SiteUpdate
	running    sync.WaitGroup

	nodes map[*cluster.Node]watched[*watch.Watcher]
	sites map[*cluster.Site]watched[*watch.SiteWatcher]

	ofNode map[*watch.Watcher]nodeRef
	ofSite map[*watch.SiteWatcher]siteRef
	byKey  map[cluster.NodeKey]*watch.Watcher // made anew by follow, never changed
}

// watched is a watcher at work.
type watched[W any] struct {
	watcher W
	stop    context.CancelFunc
}

// nodeRef is a node and its cluster.
type nodeRef struct {
	cluster *cluster.Cluster
	node    *cluster.Node
}

// siteRef is a site and its cluster.
type siteRef struct {
	cluster *cluster.Cluster
	site    *cluster.Site
}

func newWatchers(o Options) *watchers {
	w := &watchers{
		poller: o.NewPoller, sitePoller: o.NewSitePoller, heartbeats: watch.NewHeartbeatMonitor(),
		updates: make(chan watch.Update, 256), siteUpdate: make(chan watch.SiteUpdate),
	}
	if w.poller == nil {
		w.poller = watch.NewHTTPPoller
	}
	if w.sitePoller == nil {
		w.sitePoller = watch.NewSitePoller
	}
	return w
}

// follow starts and stops watchers so that each node and site of the model has its own. A watcher with an unchanged configuration
// keeps running.
func (w *watchers) follow(ctx context.Context, m *cluster.Model) {
	now := time.Now()
	nodes, sites := w.nodes, w.sites
	w.nodes, w.sites = map[*cluster.Node]watched[*watch.Watcher]{}, map[*cluster.Site]watched[*watch.SiteWatcher]{}
	w.ofNode, w.ofSite = map[*watch.Watcher]nodeRef{}, map[*watch.SiteWatcher]siteRef{}
	w.byKey = map[cluster.NodeKey]*watch.Watcher{}
	w.heartbeats.Expect(countStreams(m))
	for _, c := range m.Clusters() {
		for _, s := range c.Sites() {
			old, exists := sites[s]
			if exists && old.watcher.Matches(c.Config(), s.Config()) {
				delete(sites, s)
			} else {
				old = w.watchSite(ctx, c.Config(), s.Config())
			}
			w.sites[s], w.ofSite[old.watcher] = old, siteRef{c, s}
		}
		for _, n := range c.Nodes() {
			old, exists := nodes[n]
			if exists && old.watcher.Matches(c.Config(), n.Config()) {
				delete(nodes, n)
			} else {
				old = w.watchNode(ctx, watch.New(c.Config(), n.Config(), now, w.heartbeats), n.Config())
			}
			w.nodes[n], w.ofNode[old.watcher] = old, nodeRef{c, n}
			w.byKey[cluster.NodeKey{Cluster: c.Name(), Node: n.Config().Address}] = old.watcher
		}
	}
	for _, gone := range nodes {
		gone.stop()
	}
	for _, gone := range sites {
		gone.stop()
	}
}

// countStreams returns how many streams there are if every node has one.
func countStreams(m *cluster.Model) (n int) {
	for _, c := range m.Clusters() {
		if c.Config().Watch == config.WatchAuto {
			n += len(c.Nodes())
		}
	}
	return n
}

func (w *watchers) watchNode(ctx context.Context, watcher *watch.Watcher, n config.Node) watched[*watch.Watcher] {
	ctx, stop := context.WithCancel(ctx)
	p := w.poller(n)
	w.running.Go(func() { watcher.Run(ctx, p, w.updates) })
	return watched[*watch.Watcher]{watcher, stop}
}

func (w *watchers) watchSite(ctx context.Context, c config.Cluster, s config.Site) watched[*watch.SiteWatcher] {
	ctx, stop := context.WithCancel(ctx)
	watcher, p := watch.NewSiteWatcher(c, s), w.sitePoller(c, s)
	w.running.Go(func() { watcher.Run(ctx, p, w.siteUpdate) })
	return watched[*watch.SiteWatcher]{watcher, stop}
}

// stop ends all watchers and waits for them.
func (w *watchers) stop() {
	for _, n := range w.nodes {
		n.stop()
	}
	for _, s := range w.sites {
		s.stop()
	}
	w.running.Wait()
}

// siteReading converts a reading of a watcher for the model.
func siteReading(r watch.SiteReading) cluster.SiteReading {
	reading := cluster.SiteReading{At: r.At, Answered: r.Answered, Detail: r.Detail}
	for _, b := range r.Balancers {
		reading.Balancers = append(reading.Balancers, cluster.RemoteBalancer(b))
	}
	return reading
}

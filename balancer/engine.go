package balancer

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

const (
	// kernelTimeout bounds one cycle's work in the kernel, which takes milliseconds, and seconds where a module has to be loaded first.
	kernelTimeout = 20 * time.Second
	// breath is the least time between two cycles that readings ask for: when many nodes change at once, one cycle does for many.
	breath = 20 * time.Millisecond
	// fresh is how old the kernel's figures may be that a status shows.
	fresh = 100 * time.Millisecond
	// markCycles is after how many cycles the marking rules are looked at again.
	markCycles = 5
	// mostAsks is how many asks in a row are answered before a cycle that is due: as many as both listeners let in.
	mostAsks = 2 * maxConns
	// stall is how late a cycle is when the process, or its machine, stood still meanwhile. What was asked of it then lies in the sockets still, and
	// has catchUp to be read before the cycle.
	stall   = time.Second
	catchUp = 500 * time.Millisecond
	// idleCycle is the time between two cycles while the config has no cluster.
	idleCycle = 2 * time.Second
)

// engine owns the state of all clusters and is the only one that changes the kernel's tables. One goroutine, run, reads
// and writes what stands below; the others send it messages.
type engine struct {
	table      ipvs.Table
	marks      mark.Table
	log        *slog.Logger
	poller     func(config.Node) watch.Poller
	sitePoller func(config.Cluster, config.Site) watch.SitePoller
	events     *journal.Journal
	meters     *meters
	ready      func() // called when what runs at the start is in the kernel

	news      chan watch.Update
	siteNews  chan watch.SiteUpdate
	asks      chan func(ctx context.Context) // run by the owner, one at a time
	done      chan struct{}                  // closed when run has ended
	planning  sync.Mutex                     // held while somebody plans: one at a time is enough work
	rehearses bool                           // it is a copy that only shows what a change does: it watches nobody and serves no page
	watchers  sync.WaitGroup
	leases    *watch.HeartbeatMonitor // of their streams
	view      atomic.Pointer[view]    // the latest, for those who read while the owner is busy

	pages    map[string]*page.Content // of lb's own, by cluster
	drains   *drain.Store             // what operators drain; nil in a dry run
	audit    *audit.Log               // who did
	draining sync.Mutex               // held for a whole change of the drains, so that two do not both take the last healthy node
	over     map[drain.Key]time.Time  // the drains that have ended by themselves, with their end, and still have a file
	ending   atomic.Bool              // endDrains is under way

	clusters []*cluster // by name
	watched  map[*watch.Watcher]place
	retired  map[ipvs.Mark]retirement
	adopted  bool // the kernel's table has been read once, and what runs there taken over
	started  bool // ready has been called
	dirty    bool // a reading changed a weight
	heard    bool // a reading came since the last view was made

	actual   []ipvs.Service // the kernel's table as last read
	read     time.Time      // when
	left     []ipvs.Service // the kernel's table as the last cycle left it; what differs in the next one, somebody else did
	hasLeft  bool
	trouble  string // of reading the table; "" when none
	oddments string // what the kernel refused about marks that left the config
	failures int    // kernel errors since the start

	marked      []mark.Rule // the rules as last set
	hasMarked   bool
	markTrouble string
	markWait    int // cycles until they are looked at again
	marksSeen   time.Time

	sync        config.Sync // as the config wants it
	synced      bool        // sync daemons of ours run
	syncedAs    config.Sync // what they were made to be; what differs in the next cycle, somebody else did
	syncTrouble string

	lastCycle time.Time
	lastHurry time.Time // the end of the last cycle that readings asked for

	location     string // [balancer] location and relay_address, for other data centres
	relayAddress netip.Addr

	overrides overrides
}

// place is where a node belongs.
type place struct {
	cluster *cluster
	node    *node
}

// retirement is a mark whose service is to go, and stays ours until it is gone.
type retirement struct {
	cause      string
	afterMarks bool // packets may still get this mark: only once the marking rules are right
}

func newEngine(o Options) *engine {
	e := &engine{
		table: o.Table, marks: o.Marks, log: o.Log, poller: o.NewPoller, ready: o.Ready,
		news: make(chan watch.Update, 256), siteNews: make(chan watch.SiteUpdate), sitePoller: o.NewSitePoller, asks: make(chan func(context.Context)), done: make(chan struct{}),
		retired: map[ipvs.Mark]retirement{}, leases: watch.NewHeartbeatMonitor(), overrides: overrides{strays: map[string]bool{}},
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.events, e.meters = journal.Open("", e.log), newMeters()
	if e.poller == nil {
		e.poller = watch.NewHTTPPoller
	}
	if e.sitePoller == nil {
		e.sitePoller = watch.NewSitePoller
	}
	return e
}

// configure makes the first clusters. Nothing is started.
func (e *engine) configure(cfg *config.Config) {
	e.location, e.relayAddress = cfg.Balancer.Location, cfg.Balancer.RelayAddress
	e.overrides.dir = cfg.Balancer.OverrideDir
	e.sync = cfg.Balancer.Sync
	for _, c := range cfg.Clusters {
		n := &cluster{cfg: c}
		n.setNodes(c.Nodes, decide.State{})
		n.setSites(c.Sites)
		e.clusters = append(e.clusters, n)
	}
	e.sort()
	e.publish(time.Now())
}

func (e *engine) sort() {
	slices.SortFunc(e.clusters, func(a, b *cluster) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
}

// setNodes makes the cluster's nodes these; those that it has already keep their state.
func (c *cluster) setNodes(nodes []config.Node, joining decide.State) {
	old := c.nodes
	c.nodes, c.stale = nil, true
	for _, n := range nodes {
		at := slices.IndexFunc(old, func(o *node) bool { return o.cfg.Address == n.Address })
		if at < 0 {
			fresh := &node{cfg: n, state: joining}
			c.weigh(time.Time{}, fresh, nil)
			c.nodes = append(c.nodes, fresh)
			continue
		}
		old[at].cfg, old[at].remote = n, nil
		c.nodes = append(c.nodes, old[at])
	}
}

// run is the owner. It returns when ctx ends, and leaves the kernel as it is.
func (e *engine) run(ctx context.Context) {
	defer close(e.done)
	defer e.watchers.Wait()
	defer e.stopWatchers()
	e.watchers.Go(func() { e.leases.Run(ctx) })
	e.watch(ctx)
	e.cycle(ctx)
	e.startAutostart(time.Now())
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			e.abandonStarts()
			return
		case n := <-e.news:
			e.take(n)
		case n := <-e.siteNews:
			e.takeSite(n)
		case ask := <-e.asks:
			ask(ctx)
		case <-wake.C:
		}
		for range len(e.news) {
			e.take(<-e.news) // nobody else receives
		}
		e.serve(ctx)
		e.ripen(ctx)
		if time.Since(e.lastCycle) > e.interval()+stall {
			e.readUp(ctx)
		}
		if now := time.Now(); !now.Before(e.due()) {
			hurried := e.dirty
			e.cycle(ctx)
			if hurried {
				e.lastHurry = time.Now()
			}
		}
		e.sayReady()
		wake.Reset(time.Until(e.due()))
	}
}

// serve runs what is asked already: a stop that has waited comes before a cycle that would repair what it is to remove.
func (e *engine) serve(ctx context.Context) {
	for range mostAsks {
		select {
		case ask := <-e.asks:
			ask(ctx)
		default:
			return
		}
	}
}

// readUp runs what is asked while a process that stood still reads what it was sent.
func (e *engine) readUp(ctx context.Context) {
	over := time.NewTimer(catchUp)
	defer over.Stop()
	for {
		select {
		case ask := <-e.asks:
			ask(ctx)
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// sayReady tells, once, that what should run at the start is in the kernel.
func (e *engine) sayReady() {
	if e.started || !e.adopted || slices.ContainsFunc(e.clusters, func(c *cluster) bool { return c.start != nil }) {
		return
	}
	e.started = true
	if e.ready != nil {
		e.ready()
	}
}

// due is when the next thing has to be done.
func (e *engine) due() time.Time {
	due := watch.AlignDown(e.lastCycle.Add(e.interval()), e.interval()) // with the leases, in one wake-up
	if hurry := e.lastHurry.Add(breath); e.dirty && hurry.Before(due) {
		due = hurry // the first change after a quiet time waits for nothing
	}
	for _, c := range e.clusters {
		if c.start != nil && c.start.deadline.Before(due) {
			due = c.start.deadline
		}
	}
	return due
}

// interval is the time between two cycles: the shortest of the clusters' check intervals.
func (e *engine) interval() time.Duration {
	shortest := time.Duration(0)
	for _, c := range e.clusters {
		if shortest == 0 || c.cfg.CheckInterval < shortest {
			shortest = c.cfg.CheckInterval
		}
	}
	return cmp.Or(shortest, idleCycle)
}

// take takes a reading in.
func (e *engine) take(news watch.Update) {
	of, ours := e.watched[news.From]
	if !ours {
		return // of a watcher that was stopped meanwhile
	}
	e.heard = true
	count(&of.node.readings, news.Reading)
	if of.cluster.weigh(time.Now(), of.node, &news.Reading) && of.cluster.running {
		e.dirty = true
	}
}

// watch starts and stops watchers so that every node of the config has its own.
func (e *engine) watch(ctx context.Context) {
	e.watched = map[*watch.Watcher]place{}
	if e.rehearses {
		return
	}
	now := time.Now()
	for _, c := range e.clusters {
		e.watchSites(ctx, c)
		for _, n := range c.nodes {
			if n.remote != nil {
				continue
			}
			if n.watch != nil && n.watch.Matches(c.cfg, n.cfg) {
				e.watched[n.watch] = place{c, n}
				continue
			}
			if n.watch != nil {
				n.unwatch()
			}
			n.watch = watch.New(c.cfg, n.cfg, now, e.leases)
			e.watched[n.watch] = place{c, n}
			var watched context.Context
			watched, n.unwatch = context.WithCancel(ctx)
			w, p := n.watch, e.poller(n.cfg)
			e.watchers.Go(func() { w.Run(watched, p, e.news) })
		}
	}
}

func (e *engine) stopWatchers() {
	for _, c := range e.clusters {
		c.unwatch()
	}
}

// do has the owner run ask and waits until it has.
func (e *engine) do(ctx context.Context, ask func(ctx context.Context)) error {
	ran := make(chan struct{})
	select {
	case e.asks <- func(ctx context.Context) { defer close(ran); ask(ctx) }:
	case <-e.done:
		return api.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-ran:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// find returns the cluster of that name.
func (e *engine) find(name string) (*cluster, error) {
	for _, c := range e.clusters {
		if c.cfg.Name == name {
			return c, nil
		}
	}
	return nil, &api.NoClusterError{Name: name}
}

// troubles joins what is wrong into one line; "" when nothing is.
func troubles(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), "; ")
}

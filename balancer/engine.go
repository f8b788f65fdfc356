package balancer

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/override"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/balancer/server"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
)

const (
	// minGap is the least time between two reconciles that readings trigger: when many nodes change at once, one reconcile serves many.
	minGap = 20 * time.Millisecond
	// maxOrders is how many orders in a row run before a reconcile that is due: as many as both listeners admit.
	maxOrders = 2 * server.MaxConns
	// stall is how late a reconcile is if the process, or its machine, was stopped meanwhile. Orders that arrived then are still in
	// the sockets and have catchUp to be read before the reconcile.
	stall   = time.Second
	catchUp = 500 * time.Millisecond
)

// engine owns the model of all clusters and everything that changes with it. One goroutine, run, uses its fields; the others send
// it orders by do. The exceptions serve the others: orders and done are channels; planning, snapshot, refused and figures synchronize
// themselves.
type engine struct {
	rec       *reconcile.Reconciler
	watchers  *watchers
	drains    *drains
	overrides *override.Reader
	pages     *page.Set[*cluster.Cluster]
	contents  map[string]*page.Content // of the downpages that lb serves, by cluster
	waiting   waitingStarts
	schedule  schedule
	disturbed *disturbances
	ready     func() // called once what runs from the start is in the kernel; then nil

	planning sync.Mutex // held by a preview: one at a time is enough work
	orders   chan func(ctx context.Context)
	done     chan struct{} // closed when run has ended
	snapshot atomic.Pointer[snapshot]
	refused  atomic.Pointer[api.RefusedReload] // the last reload, if it was refused
	figures  *kernel.Figures
	network  network
}

// schedule says when the next reconcile is due.
type schedule struct {
	last        time.Time // end of the last reconcile
	lastReading time.Time // end of the last reconcile that a reading triggered
	urgent      bool      // a reading has changed a weight since the last reconcile
	observed    bool      // a reading has arrived since the last snapshot
}

func newEngine(o Options) *engine {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &engine{
		watchers: newWatchers(o), pages: page.NewSet[*cluster.Cluster](log), waiting: waitingStarts{}, ready: o.Ready,
		orders: make(chan func(context.Context)), done: make(chan struct{}), disturbed: newDisturbances(o.Marks),
		figures: kernel.NewFigures(cmp.Or(o.Figures, o.Table)),
	}
	e.network = network{o.Network}
	report := reconcile.NewReporter(log, journal.Open("", log))
	tables := kernel.New(o.Table, o.Marks)
	if o.Settings != "" {
		tables.Settings = kernel.NewSettings(o.Settings, log)
	}
	e.rec = reconcile.New(cluster.New(&config.Config{}), tables, report, inputs{e})
	e.overrides = override.NewReader("", log)
	e.drains = &drains{report: report}
	return e
}

// configure makes the first model. It starts nothing.
func (e *engine) configure(cfg *config.Config) {
	e.rec.Model = cluster.New(cfg)
	e.overrides.Dir = cfg.Balancer.OverrideDir
	e.rec.Kernel.Settings.MaySet(cfg.Balancer.SetSysctls)
	e.network.follow(e.rec.Model)
	e.publish()
}

// run owns the model until ctx ends, and leaves the kernel as it is.
func (e *engine) run(ctx context.Context) {
	defer close(e.done)
	defer e.drains.wait()
	defer e.pages.Wait()
	defer e.watchers.stop()
	e.watchers.running.Go(func() { e.watchers.heartbeats.Run(ctx) })
	e.watchers.follow(ctx, e.rec.Model)
	e.reconcile(ctx, reconcile.Startup)
	e.rec.Model.Lifecycle().Autostart(time.Now())
	e.rec.Flush()
	e.watchers.running.Go(func() { e.disturbed.watch(ctx, e.rec.Report.Log) })
	states := e.network.states()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			e.waiting.abandon()
			return
		case u := <-e.watchers.updates:
			e.observe(u)
		case u := <-e.watchers.siteUpdate:
			e.observeSite(u)
		case order := <-e.orders:
			order(ctx)
		case <-e.disturbed.seen:
			e.disturbed.pending = true
		case s := <-states:
			e.observeNetwork(ctx, s)
		case <-wake.C:
		}
		for range len(e.watchers.updates) {
			e.observe(<-e.watchers.updates) // nobody else receives
		}
		if e.disturbed.repair(ctx, e.rec) {
			e.publish()
		}
		e.runOrders(ctx)
		e.completeStarts(ctx)
		if time.Since(e.schedule.last) > e.rec.Model.Interval()+stall {
			e.catchUp(ctx)
		}
		if !time.Now().Before(e.schedule.due(e.rec.Model)) {
			if e.schedule.urgent {
				e.reconcile(ctx, reconcile.Reading)
				e.schedule.lastReading = time.Now()
			} else {
				e.reconcile(ctx, reconcile.Timer)
			}
		}
		e.reportReady()
		wake.Reset(time.Until(e.disturbed.orDue(e.schedule.due(e.rec.Model))))
	}
}

// reconcile runs a reconcile and notes when.
func (e *engine) reconcile(ctx context.Context, t reconcile.Trigger) {
	e.schedule.last, e.schedule.urgent = time.Now(), false
	news := e.rec.Reconcile(ctx, t)
	e.schedule.last = time.Now()
	if news || e.schedule.observed {
		e.publish()
	}
}

// reconciled notes that an order has reconciled, and shows what came of it.
func (e *engine) reconciled() {
	e.schedule.last, e.schedule.urgent = time.Now(), false
	e.publish()
}

// runOrders runs the orders that have arrived. A stop that has waited comes before a reconcile that would repair what it is to remove.
func (e *engine) runOrders(ctx context.Context) {
	for range maxOrders {
		select {
		case order := <-e.orders:
			order(ctx)
		default:
			return
		}
	}
}

// catchUp runs orders while a process that was stopped reads what it was sent meanwhile.
func (e *engine) catchUp(ctx context.Context) {
	over := time.NewTimer(catchUp)
	defer over.Stop()
	for {
		select {
		case order := <-e.orders:
			order(ctx)
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reportReady calls ready, once, when everything that should run from the start is in the kernel.
func (e *engine) reportReady() {
	if e.ready != nil && e.rec.Adopted() && len(e.rec.Model.Lifecycle().InProgress()) == 0 {
		e.ready()
		e.ready = nil
	}
}

// due is when the next reconcile is due.
func (s schedule) due(m *cluster.Model) time.Time {
	interval := m.Interval()
	due := watch.AlignDown(s.last.Add(interval), interval) // in one wake-up with the heartbeat monitor
	if soon := s.lastReading.Add(minGap); s.urgent && soon.Before(due) {
		due = soon // the first change after a quiet time does not wait
	}
	return m.Lifecycle().NextDeadline(due)
}

// observe gives the model a reading. Readings of watchers that have been stopped meanwhile do not count.
func (e *engine) observe(u watch.Update) {
	ref, ours := e.watchers.ofNode[u.From]
	if !ours {
		return
	}
	e.schedule.observed = true
	if ref.cluster.Observe(time.Now(), ref.node, u.Reading) {
		e.schedule.urgent = true
	}
}

// observeSite gives the model a reading of another data centre's balancer.
func (e *engine) observeSite(u watch.SiteUpdate) {
	ref, ours := e.watchers.ofSite[u.From]
	if !ours {
		return
	}
	if e.rec.Model.ObserveSite(time.Now(), ref.cluster, ref.site, siteReading(u.Reading)) {
		e.schedule.urgent = true
	}
	e.rec.Flush()
}

// do runs an order in the goroutine that owns the model, and waits until it has run.
func (e *engine) do(ctx context.Context, order func(ctx context.Context)) error {
	ran := make(chan struct{})
	select {
	case e.orders <- func(ctx context.Context) { defer close(ran); order(ctx) }:
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

// inputs are what a reconcile of the daemon takes in.
type inputs struct{ *engine }

// Drains implements reconcile.Inputs.
func (in inputs) Drains(now time.Time) map[cluster.NodeKey]cluster.Drain {
	return in.drains.current(now)
}

// Overrides implements reconcile.Inputs.
func (in inputs) Overrides(now time.Time, m *cluster.Model) { readOverrides(in.overrides, now, m) }

// readOverrides gives a model the up and down files as they are now.
func readOverrides(r *override.Reader, now time.Time, m *cluster.Model) {
	files, complete := r.Read()
	r.Unknown(m.SetFiles(now, files, complete), files)
}

// Pages implements reconcile.Inputs. A page is served from the start of its cluster on: when the last node goes there is no time to
// lose, and no port that may be missing then.
func (in inputs) Pages(ctx context.Context, m *cluster.Model) {
	in.pages.CloseOthers(func(c *cluster.Cluster) bool {
		return c.Running() && in.contents[c.Name()] != nil && slices.Contains(m.Clusters(), c)
	})
	for _, c := range m.Clusters() {
		if content := in.contents[c.Name()]; content != nil && c.Running() {
			err := in.pages.Serve(ctx, c, page.Wanted{Cluster: c.Name(), Content: content, Addresses: c.PageAddresses()})
			in.rec.Report.KernelError("the downpage of cluster "+c.Name(), c, errorText(err))
		}
		c.SetPage(in.pages.Addresses(c))
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

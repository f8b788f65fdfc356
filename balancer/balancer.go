// Package balancer is the daemon of a load balancer: it watches the nodes of each cluster and keeps the kernel's IPVS table,
// marking rules and sync daemons as the nodes' health and the operators' orders want them.
//
// balancer.go wires the daemon and runs it; engine.go is the goroutine that owns the model; lifecycle.go, reload.go and drains.go
// carry out orders; watchers.go brings readings in; status.go and preview.go serve those who only read.
package balancer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/hook"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/balancer/server"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/systemd"
)

// Options are what a Balancer works with.
type Options struct {
	Load      func() (*config.Config, error) // reads the configuration, at the start and for each reload
	Checks    config.CheckValidator          // validates the checks of a configuration that is to be planned; nil does not
	Reload    <-chan struct{}                // asks for a reload; nil for none
	Table     ipvs.Table                     // the caller closes it
	Figures   ipvs.Table                     // another handle of the same table, so that status reads never delay writes; nil uses Table
	Marks     mark.Table
	Settings  ipvs.SysctlDir // checked at the start and again and again; "" is not at all
	Network   Network        // reports the state of the machine's network; nil does not
	Log       *slog.Logger   // nil is silence
	Version   string         // of lb
	Ready     func()         // called once what runs from the start is in the kernel; may be nil
	Manager   *systemd.Notifier
	NewPoller func(config.Node) watch.Poller // nil is watch.NewHTTPPoller

	NewSitePoller func(config.Cluster, config.Site) watch.SitePoller // nil is watch.NewSitePoller

	// Lock makes sure that no other process does the same to the same kernel, until what it returns is closed; nil does not.
	Lock func(context.Context) (io.Closer, error)
}

// Balancer is the daemon, with its listeners bound.
type Balancer struct {
	options Options
	log     *slog.Logger
	cfg     config.Balancer
	engine  *engine
	tcp     net.Listener
	control net.Listener
	access  *listen.Authorizer
	lock    io.Closer // nil: Options have none

	orders     chan reloadOrder
	hooks      *hook.Set
	firstHooks []config.Hook // that Run starts
}

// New does everything that can fail: it loads the configuration, reads the kernel's tables once, and binds the listeners. It
// changes nothing in the kernel and starts no goroutine. Run has to follow; it also closes the listeners.
func New(ctx context.Context, o Options) (*Balancer, error) {
	b := &Balancer{options: o, orders: make(chan reloadOrder)}
	cfg, policy, err := b.load()
	if err != nil {
		return nil, err
	}
	if _, err := kernel.New(o.Table, o.Marks).Read(ctx); err != nil {
		return nil, err
	}
	b.options.Ready = readyNotifier(o)
	b.cfg, b.firstHooks = cfg.Balancer, cfg.Hooks
	b.engine = newEngine(b.options)
	b.log = b.engine.rec.Report.Log
	if err := b.open(ctx, cfg, policy); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.engine.configure(cfg)
	return b, nil
}

// open takes what only one process may have, and reads the files that the daemon needs.
func (b *Balancer) open(ctx context.Context, cfg *config.Config, policy *listen.Policy) (err error) {
	if b.control, err = listener().ListenControl(ctx, cfg.Balancer.Control, policy); err != nil {
		return err
	}
	if b.options.Lock != nil {
		if b.lock, err = b.options.Lock(ctx); err != nil {
			return err
		}
	}
	if b.tcp, err = listener().ListenHTTP(ctx, cfg.Balancer.Listen); err != nil {
		return err
	}
	if b.engine.contents, err = page.LoadAll(cfg.Clusters); err != nil {
		return err
	}
	if err := b.engine.drains.open(cfg.Balancer.DataDir); err != nil {
		return err
	}
	b.access = listener().NewAuthorizer(cfg.Balancer.Control, policy)
	b.engine.rec.Report.Journal = journal.Open(cfg.Balancer.DataDir, b.log)
	b.hooks = hook.NewSet(b.engine.rec.Report.Journal, b.log)
	return nil
}

// close gives back what open has taken.
func (b *Balancer) close() error {
	var errs []error
	for _, c := range []io.Closer{b.tcp, b.lock, b.control} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Addr is the TCP address that the daemon serves.
func (b *Balancer) Addr() net.Addr { return b.tcp.Addr() }

// Run serves until ctx ends, which leaves the kernel as it is. It returns when all goroutines have ended.
func (b *Balancer) Run(ctx context.Context) error {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	report := b.engine.rec.Report
	s := server.New(server.Options{
		Clusters: b.engine, Drains: b.engine, Configuration: b, Journal: report.Journal, Hooks: b.hooks.Counts,
		Collectors: report.Metrics.Collectors(), AdmitTCP: b.access.AuthorizeTCP, AdmitSocket: b.access.AuthorizeSocket,
		Version: b.options.Version, Log: b.log,
	})
	stopJournal := report.Journal.Start()
	b.hooks.Configure(b.firstHooks)
	var failed error
	var running sync.WaitGroup
	running.Go(func() { b.engine.run(engineCtx) })
	if b.options.Network != nil {
		running.Go(func() { b.options.Network.Run(engineCtx) })
	}
	running.Go(func() {
		failed = s.Serve(b.access.OptionalTLS(b.tcp), b.control)
		stop()
	})
	running.Go(func() { b.reloads(ctx) })
	running.Go(func() { b.watchdog(ctx) })
	report.Now(event.BalancerStarted, event.Info, "lb balance started", slog.String("version", b.options.Version),
		slog.String("listen", b.tcp.Addr().String()), slog.String("control", b.cfg.Control))

	<-ctx.Done()
	b.options.Manager.Stopping()
	s.Shutdown()
	stopEngine()
	running.Wait()
	report.Now(event.BalancerStopped, event.Info, "lb balance is stopping; the kernel keeps forwarding")
	b.hooks.Stop()
	stopJournal()
	if b.lock != nil {
		failed = errors.Join(failed, b.lock.Close())
	}
	return failed
}

// listener names the balancer in errors of package listen.
func listener() listen.Daemon { return listen.Daemon{Name: "lb balance", Section: "balancer"} }

// Lock holds the lock of the one balancer of this network namespace.
func Lock(ctx context.Context) (io.Closer, error) { return listener().LockInstance(ctx) }

// readyNotifier calls Ready and notifies the service manager.
func readyNotifier(o Options) func() {
	return func() {
		o.Manager.Ready("running, and the kernel is up to date")
		if o.Ready != nil {
			o.Ready()
		}
	}
}

// watchdog kicks the service manager's watchdog until ctx ends. Each kick runs in the goroutine that owns the model, between two
// reconciles: when that hangs there is none, and the manager restarts lb balance, which leaves the kernel as it is. A kernel that
// rejects changes is no reason for a restart: the next reconcile tries again.
func (b *Balancer) watchdog(ctx context.Context) {
	interval := b.options.Manager.WatchdogInterval()
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if b.engine.do(ctx, func(context.Context) { b.options.Manager.KickWatchdog() }) != nil {
			return // the balancer stops
		}
	}
}

// Package balancer is the daemon of a load balancer: it watches the nodes of each cluster, decides their weights, keeps the kernel's
// IPVS table, marking rules and sync daemons as they should be, and tells what happens.
//
// balancer.go is the daemon, engine.go the one goroutine that owns all clusters, and cycle.go what it does over and over: look at the kernel,
// decide, plan, apply. cluster.go, weigh.go, sites.go, relay.go and downpage.go make a cluster's services; life.go, reload.go, drains.go
// and orders.go are what operators ask for; the files http_*.go are what the daemon answers.
package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/hook"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/systemd"
)

// shutdownTimeout is how long answers under way may take when the daemon ends.
const shutdownTimeout = 3 * time.Second

// Options are what a Balancer works with.
type Options struct {
	Load      func() (*config.Config, error) // reads the config, at the start and at each reload
	Checks    config.CheckValidator          // judges the checks of a config that is to be planned; nil does not
	Reload    <-chan struct{}                // asks for a reload; nil for none
	Table     ipvs.Table                     // stays the caller's to close
	Marks     mark.Table
	Settings  ipvs.Settings                  // looked at at the start, and when the config needs others; "" is not at all
	Log       *slog.Logger                   // nil is silence
	Version   string                         // of lb, for GET /
	Ready     func()                         // called once what runs at the start is in the kernel; may be nil
	Manager   *systemd.Manager               // is told how the balancer does; nil is nobody
	NewPoller func(config.Node) watch.Poller // nil is watch.NewHTTPPoller

	NewSitePoller func(config.Cluster, config.Site) watch.SitePoller // nil is watch.NewSitePoller

	// Alone makes sure that nobody else does the same to the same kernel, until what it returns is closed; nil does not look.
	Alone func(context.Context) (io.Closer, error)
}

// Balancer is the daemon, with its listeners bound.
type Balancer struct {
	options Options
	log     *slog.Logger
	cfg     config.Balancer
	use     ipvs.Use // of the config that is in force
	engine  *engine
	tcp     net.Listener
	control net.Listener
	guard   *listen.Guard // who may change something
	place   io.Closer     // that of the one balancer; nil where nobody looked

	orders     chan reloadOrder
	hooks      *hook.Set
	firstHooks []config.Hook // until Run starts them
}

// New does all that can fail: it loads the config, reads the kernel's tables once, and binds the listeners. It changes nothing in the kernel and
// starts no goroutine; Run has to follow, and gives the listeners back.
func New(ctx context.Context, o Options) (*Balancer, error) {
	cfg, err := o.Load()
	if err != nil {
		return nil, err
	}
	if _, err := o.Table.Dump(ctx); err != nil {
		return nil, fmt.Errorf("read the kernel's load-balancing table: %w", err)
	}
	if _, err := o.Marks.List(ctx); err != nil {
		return nil, fmt.Errorf("read the kernel's marking rules: %w", err)
	}
	o.Ready = tellReady(o)
	b := &Balancer{options: o, cfg: cfg.Balancer, use: ipvs.Use(cfg.KernelUse()), engine: newEngine(o), orders: make(chan reloadOrder)}
	b.log = b.engine.log
	keys, err := listener().Keys(cfg.Balancer.Access)
	if err != nil {
		return nil, err
	}
	if b.control, err = listener().Control(ctx, cfg.Balancer.Control, keys); err != nil {
		return nil, err
	}
	if o.Alone != nil {
		if b.place, err = o.Alone(ctx); err != nil {
			return nil, errors.Join(err, b.giveBack())
		}
	}
	if b.tcp, err = listener().TCP(ctx, cfg.Balancer.Listen); err != nil {
		return nil, errors.Join(err, b.giveBack())
	}
	if b.engine.pages, err = loadPages(cfg.Clusters); err != nil {
		return nil, errors.Join(err, b.giveBack())
	}
	if err := b.engine.openDrains(cfg.Balancer.DataDir); err != nil {
		return nil, errors.Join(err, b.giveBack())
	}
	b.guard = listener().Guard(cfg.Balancer.Control, keys)
	b.engine.events = event.Open(cfg.Balancer.DataDir, b.log)
	b.hooks, b.firstHooks = hook.NewSet(b.engine.events, b.log), cfg.Hooks
	b.engine.configure(cfg)
	return b, nil
}

// giveBack lets go of what New has taken so far.
func (b *Balancer) giveBack() error {
	var errs []error
	for _, c := range []io.Closer{b.tcp, b.place, b.control} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Addr is the address that reads over TCP are served on.
func (b *Balancer) Addr() net.Addr { return b.tcp.Addr() }

// Run serves until ctx ends, which leaves the kernel as it is. It returns when all goroutines have ended.
func (b *Balancer) Run(ctx context.Context) error {
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h := handler{clusters: b.engine, drains: b.engine, version: b.options.Version, refusals: listen.NewRefusals(b.log), events: b.engine.events, serving: ctx, reload: b.askReload, plan: b.plan}
	reads, changes := h, h
	reads.admit, changes.admit = b.guard.TCP, b.guard.Socket
	reads.streams, changes.streams = make(chan struct{}, maxStreams), make(chan struct{}, maxSocketStreams)
	h.metrics = b.engine.metricsPage(b.options.Version, func() int { return len(reads.streams) + len(changes.streams) }, b.hooks.Counts)
	reads.metrics, changes.metrics = h.metrics, h.metrics
	servers := []*http.Server{newServer(reads, b.log), newServer(changes, b.log)}

	b.checkSettings()
	stopRecord := b.record()
	b.hooks.Use(b.firstHooks)
	failed := make([]error, len(servers))
	var running sync.WaitGroup
	running.Go(func() { b.engine.run(engineCtx) })
	for i, l := range []net.Listener{b.guard.Secure(b.tcp), b.control} {
		running.Go(func() {
			if err := servers[i].Serve(listen.Limit(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
				failed[i] = fmt.Errorf("serve on %s: %w", l.Addr(), err)
				stop()
			}
		})
	}
	running.Go(func() { b.reloads(ctx) })
	running.Go(func() { b.signs(ctx) })
	b.engine.tell(slog.LevelInfo, event.Now(event.BalancerStarted, "lb balance runs"), slog.String("version", b.options.Version),
		slog.String("listen", b.tcp.Addr().String()), slog.String("control", b.cfg.Control))

	<-ctx.Done()
	b.options.Manager.Stopping()
	b.shutdown(servers)
	stopEngine()
	running.Wait()
	b.engine.tell(slog.LevelInfo, event.Now(event.BalancerStopped, "lb balance ends; the kernel goes on as it is"))
	b.hooks.Stop()
	stopRecord()
	if b.place != nil {
		failed = append(failed, b.place.Close())
	}
	return errors.Join(failed...)
}

// record keeps the events in their file, until stop is called: then all are in it.
func (b *Balancer) record() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var recording sync.WaitGroup
	recording.Go(func() { b.engine.events.Run(ctx) })
	return func() {
		cancel()
		recording.Wait()
	}
}

// shutdown ends the servers, with some patience for answers under way.
func (b *Balancer) shutdown(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	var ending sync.WaitGroup
	for _, s := range servers {
		ending.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // what is still open after that is of no use to anybody
			}
		})
	}
	ending.Wait()
}

// reloads loads the config anew whenever asked, until ctx ends. A config that is broken or refused changes nothing.
func (b *Balancer) reloads(ctx context.Context) {
	hangups := b.options.Reload
	for {
		var o reloadOrder
		select {
		case <-ctx.Done():
			return
		case o = <-b.orders:
		case _, open := <-hangups:
			if !open {
				hangups = nil // there are none
				continue
			}
		}
		err := b.reload(ctx, o)
		if o.answer != nil {
			o.answer <- err
		}
	}
}

// lasting is what takes a restart to change.
func lasting(b config.Balancer) config.Balancer {
	return config.Balancer{
		Listen: b.Listen, Control: b.Control, DataDir: b.DataDir, SetSysctls: b.SetSysctls,
		Access: config.Access{ControlGroup: b.ControlGroup},
	}
}

// refuse logs why a reload changed nothing, with a line for each mistake in the file.
func (b *Balancer) refuse(err error) {
	const text = "reload refused: everything goes on with the config as it was"
	words := []string{err.Error()}
	if mistakes := (config.Diagnostics)(nil); errors.As(err, &mistakes) {
		words = nil
		for _, m := range mistakes {
			words = append(words, m.String())
		}
	}
	for _, what := range words {
		ev := event.Now(event.ConfigRefused, text)
		ev.Err = what
		b.engine.tell(slog.LevelError, ev)
	}
}

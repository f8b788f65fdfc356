// Package agent is the daemon of an app node: it measures the services in the background and answers for their health.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/agent/agentcheck"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/fastpath"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/systemd"
	"github.com/braintree/lb/netx/tunnel"
)

const (
	// settleTime bounds how long the first answers, and a reload, wait for the first results of new checks. A load balancer's
	// poll outlasts it, so a restart of the agent does not show as a failure.
	settleTime = 2 * time.Second
	// stopTime bounds each step of stopping: requests under way, then checks.
	stopTime = 3 * time.Second
)

// Options are what an agent needs from the program around it.
type Options struct {
	Load    func() (*config.Config, error) // reads the configuration, at start and at every reload
	Reload  <-chan struct{}                // asks for a reload; nil: never. Make it buffered: a reload may take some seconds
	Log     *slog.Logger
	Version string // shown on the first line of GET /

	Ready   func()            // called once, when requests are answered; nil: nothing
	Manager *systemd.Notifier // is told how the agent does; nil: nobody
	Sockets *listen.Sockets   // opened for the agent by the service manager; nil: none

	// Tunnel sets this machine up as a real server for what is wanted, at start and after a reload, when agent.tunnel
	// is enabled; it must be idempotent. nil: [agent.tunnel] is refused.
	Tunnel     func(ctx context.Context, want tunnel.Desired) error
	LocalAddrs func() ([]netip.Addr, error) // this machine's addresses; nil: asks the kernel

	Host     check.Host // where checks find the kernel's files; zero: this machine's
	Hostname string     // spreads the checks of a fleet over their intervals; "": asks the kernel
}

// Agent is the daemon. Make it with New, then Run it.
type Agent struct {
	opts   Options
	log    *slog.Logger
	forces *force.Store
	audit  *audit.Log
	host   check.Host

	tcp      net.Listener
	control  net.Listener
	guard    *listen.Authorizer // who may change something
	refusals *listen.RefusalLog

	agentChecks *agentcheck.Server
	firstPorts  *agentcheck.Change // bound by New, served by Run

	started config.Agent              // as configured when it started
	current atomic.Pointer[set]       // what is measured now; replaced as a whole by a reload
	watched atomic.Pointer[time.Time] // when the watch last went round
	streams streams
	scrape  *scrape
	clocks  sync.WaitGroup // of the probes
	crew    crew           // runs them

	settleTime time.Duration // settleTime, but for tests
}

// New loads the configuration, binds the listeners, reads the forced states and sets up the tunnel: all that can fail. What it
// bound is closed again when it fails; after it succeeded, Run must be called.
func New(ctx context.Context, o Options) (_ *Agent, err error) {
	if o.LocalAddrs == nil {
		o.LocalAddrs = tunnel.LocalAddrs
	}
	if o.Hostname == "" {
		// Without a name all that is lost is that fleets spread their checks.
		o.Hostname, _ = os.Hostname()
	}
	a := &Agent{opts: o, log: o.Log, refusals: listen.NewRefusalLog(o.Log), host: o.Host.Shared(), crew: newCrew(), settleTime: settleTime}
	a.scrape = a.newScrape()
	cfg, err := o.Load()
	if err != nil {
		return nil, err
	}
	first, err := a.build(cfg, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.closeListeners())
		}
	}()
	// The socket comes first: who holds it is the one agent, and may tidy up in data_dir.
	if err = a.bindControl(ctx, cfg.Agent); err != nil {
		return nil, err
	}
	if a.forces, err = a.openForces(cfg); err != nil {
		return nil, err
	}
	if a.tcp, err = a.daemon().ListenHTTP(ctx, cfg.Agent.Listen); err != nil {
		return nil, err
	}
	a.agentChecks = a.newAgentChecks()
	if a.firstPorts, err = a.agentChecks.Prepare(ctx, agentCheckPorts(cfg)); err != nil {
		return nil, err
	}
	a.leaveSockets()
	if err := a.setUpTunnel(ctx, cfg); err != nil {
		return nil, err
	}
	a.started = cfg.Agent
	a.current.Store(first)
	return a, nil
}

// Addr is the address that reads are answered on.
func (a *Agent) Addr() net.Addr { return a.tcp.Addr() }

// openForces reads the forced states and tells what in them wants an operator's eye.
func (a *Agent) openForces(cfg *config.Config) (*force.Store, error) {
	store, bad, err := force.Open(cfg.Agent.DataDir)
	if err != nil {
		return nil, err
	}
	a.audit = audit.New(cfg.Agent.DataDir)
	if info, err := os.Stat(cfg.Agent.DataDir); err == nil && info.Mode().Perm()&0o002 != 0 {
		a.log.Warn("every user of this machine may write into agent.data_dir, and so force services: chmod o-w it, or name a folder of its own", "data_dir", cfg.Agent.DataDir)
	}
	for _, b := range bad {
		a.log.Warn("a forced state cannot be used", "err", b)
	}
	for _, f := range store.All() {
		if _, ok := cfg.Service(f.Service); f.Service != "" && !ok {
			a.log.Warn("a forced state is kept for a service that is not in the configuration", "service", f.Service, "kind", f.Kind, "reason", f.Reason)
		}
	}
	return store, nil
}

func (a *Agent) closeListeners() error {
	var errs []error
	if a.firstPorts != nil {
		errs = append(errs, a.firstPorts.Abandon())
	}
	for _, l := range []net.Listener{a.control, a.tcp} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Run measures and answers until ctx ends; then it lets requests under way finish, and stops its checks. The error is nil when it
// ended because it was asked to.
func (a *Agent) Run(ctx context.Context) error {
	// The checks outlive the end of ctx by as long as requests are still answered from them.
	checks, stopChecks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopChecks()
	first := a.current.Load()
	a.start(checks, first.probes())
	settle(ctx, a.settleTime, first.probes())

	a.streams.begin(a.lookUp)
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	reads, changes := a.newServer(overTCP), a.newServer(overSocket)
	quick := fastpath.New(listen.Limit(a.tcp, maxReaders), a.findPage, reads)
	wg.Go(quick.Serve)
	for _, s := range []struct {
		server *http.Server
		l      net.Listener
	}{{reads, a.guard.OptionalTLS(quick)}, {changes, listen.Limit(a.control, maxChangers)}} {
		wg.Go(func() {
			if err := s.server.Serve(s.l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve on %s: %w", s.l.Addr(), err)
			}
		})
	}
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	wg.Go(func() { a.watch(watching) })
	wg.Go(func() { a.streams.serve(watching) })
	a.firstPorts.Commit()
	a.firstPorts = nil
	a.log.Info("agent is ready", "listen", a.tcp.Addr().String(), "control", a.control.Addr().String(), "services", len(first.services))
	if a.opts.Ready != nil {
		a.opts.Ready()
	}
	a.opts.Manager.Ready("%d services", len(first.services))

	err := a.attend(ctx, checks, failed)

	a.opts.Manager.Stopping()
	stopWatching()
	a.agentChecks.Close()
	stopping, stopped := context.WithTimeout(context.Background(), stopTime)
	defer stopped()
	quick.Shutdown(stopping)
	shutdown(stopping, changes, reads)
	wg.Wait()
	stopChecks()
	a.await(a.current.Load().probes())
	a.clocks.Wait()
	a.log.Info("agent has stopped")
	return err
}

// attend reloads when asked to and gives signs of life, until ctx ends or a listener fails.
func (a *Agent) attend(ctx, checks context.Context, failed <-chan error) error {
	ticks, stop := a.signsOfLife()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case now := <-ticks:
			a.signOfLife(now)
		case <-a.opts.Reload:
			a.reloadAndTell(func() bool { return a.reload(ctx, checks) })
		}
	}
}

// shutdown lets requests under way finish until ctx ends.
func shutdown(ctx context.Context, servers ...*http.Server) {
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			s.Close() // whoever is still there then is cut off; there is nobody left to tell
		}
	}
}

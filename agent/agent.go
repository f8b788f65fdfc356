// Package agent is the daemon of an app node: it runs the checks of the node's services and reports their health.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/agent/agentcheck"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/agent/stream"
	"github.com/braintree/lb/agent/tunnelwatch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/systemd"
	"github.com/braintree/lb/netx/tunnel"
)

const (
	// resultsTimeout bounds how long the first responses, and a reload, wait for the first results of new
	// checks. It is shorter than the timeout of a balancer's poll, so that a restart of the agent does not
	// look like a failure.
	resultsTimeout = 2 * time.Second
	// stopTimeout bounds how long requests in progress may take once the agent stops.
	stopTimeout = 3 * time.Second
)

// Options are what an agent needs from the program around it.
type Options struct {
	Load    func() (*config.Config, error) // reads the configuration, at start and at every reload
	Reload  <-chan struct{}                // requests a reload; nil: never. Buffer it: a reload may take some seconds
	Log     *slog.Logger
	Version string // shown on the first line of GET /

	Ready   func()            // called once, when the agent serves requests; nil: nothing
	Manager *systemd.Notifier // the service manager; nil: none
	Sockets *listen.Sockets   // sockets that the service manager opened; nil: none

	Tunnel     tunnelwatch.Kernel           // this machine's tunnel, for agent.tunnel; nil: agent.tunnel is refused
	LocalAddrs func() ([]netip.Addr, error) // this machine's addresses; nil: reads them from the kernel

	Host     check.Host // where checks find the kernel's files; zero: this machine's
	Hostname string     // spreads the checks of a fleet over their intervals; "": asks the kernel
}

// Agent is the daemon. Make it with New, then Run it.
type Agent struct {
	opts    Options
	log     *slog.Logger
	started config.Agent // the settings at start, of which a reload cannot change all

	tcp     net.Listener
	control net.Listener
	guard   *listen.Authorizer // decides who may change something

	agentChecks *agentcheck.Server
	firstPorts  *agentcheck.Change // bound by New, served by Run

	builder   service.Builder
	services  *service.Registry
	jobs      *schedule.Scheduler
	streams   stream.Hub
	changes   *force.Changes
	server    *server.Server
	tunnel    *tunnelwatch.Watcher                    // nil: the program cannot have one
	behind    atomic.Pointer[map[netip.Addr][]string] // services by virtual IP; nil: no tunnel is wanted
	monitored atomic.Pointer[time.Time]               // when the monitor's latest round ended

	resultsTimeout time.Duration // the constant, except in tests
}

// New does everything that can fail: it loads the configuration, binds the listeners, reads the forces and
// sets up the tunnel. If it fails it closes what it bound; otherwise Run must be called.
func New(ctx context.Context, o Options) (_ *Agent, err error) {
	if o.LocalAddrs == nil {
		o.LocalAddrs = tunnel.LocalAddrs
	}
	if o.Hostname == "" {
		// Without a name, the checks of a fleet are not spread; nothing else depends on it.
		o.Hostname, _ = os.Hostname()
	}
	a := &Agent{
		opts: o, log: o.Log, resultsTimeout: resultsTimeout,
		builder: service.Builder{Host: o.Host.Shared(), Hostname: o.Hostname},
	}
	cfg, err := o.Load()
	if err != nil {
		return nil, err
	}
	set, err := a.builder.Build(cfg, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.closeListeners())
		}
	}()
	// The control socket comes first: its owner is the only agent, and may clean up in data_dir.
	if err = a.bindControl(ctx, cfg.Agent); err != nil {
		return nil, err
	}
	store, err := a.openForces(cfg)
	if err != nil {
		return nil, err
	}
	if a.tcp, err = a.daemon().ListenHTTP(ctx, cfg.Agent.Listen); err != nil {
		return nil, err
	}
	a.wire(cfg.Agent, set, store)
	if a.firstPorts, err = a.agentChecks.Prepare(ctx, agentCheckPorts(cfg)); err != nil {
		return nil, err
	}
	a.closeUnusedSockets()
	if err = a.useTunnel(ctx, cfg); err != nil {
		return nil, err
	}
	return a, nil
}

// wire connects the agent's parts: the scheduler's results and the changed forces go to the streams, and
// every server reads the services from the registry.
func (a *Agent) wire(cfg config.Agent, set *service.Set, store *force.Store) {
	a.started = cfg
	a.services = service.NewRegistry(set, store)
	a.jobs = schedule.New(a.log, a.streams.Refresh)
	a.changes = &force.Changes{Store: store, Audit: audit.New(cfg.DataDir), Log: a.log, Changed: a.publish}
	if a.opts.Tunnel != nil {
		a.tunnel = tunnelwatch.New(a.opts.Tunnel, a.log, a.publishTunnel)
	}
	a.server = server.New(server.Options{
		Services: a.services, Streams: &a.streams, Changes: a.changes, Guard: a.guard, Log: a.log, Version: a.opts.Version,
		Tunnel: a.tunnelReport,
	})
	a.agentChecks = a.newAgentChecks()
}

// publish sends a changed force to the open streams; service "" is a force on every service. It lets their
// goroutines run first: balancers wait for the events, and nobody waits for the logs that the caller writes
// next.
func (a *Agent) publish(service string) {
	if service == "" {
		a.streams.RefreshAll()
	} else {
		a.streams.Refresh(service)
	}
	runtime.Gosched()
}

// Addr is the TCP address of the agent.
func (a *Agent) Addr() net.Addr { return a.tcp.Addr() }

// openForces reads the forces and logs warnings about problems with them.
func (a *Agent) openForces(cfg *config.Config) (*force.Store, error) {
	dir := cfg.Agent.DataDir
	store, bad, err := force.Open(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o002 != 0 {
		a.log.Warn("agent.data_dir is world-writable, so every user of this machine can force services: "+
			"run chmod o-w on it, or configure another folder",
			"data_dir", dir)
	}
	for _, b := range bad {
		a.log.Warn("force cannot be used", "err", b)
	}
	for _, f := range store.All() {
		if _, ok := cfg.Service(f.Service); f.Service != "" && !ok {
			a.log.Warn("force on a service that is not in the configuration", "service", f.Service, "kind", f.Kind, "reason", f.Reason)
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

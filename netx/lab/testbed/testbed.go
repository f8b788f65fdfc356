// Package testbed builds the talk's scenario from lab hosts: a client, a load balancer, app nodes, and the real lb on them.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/vip"
)

// Where everything stands, as on the slides. Every machine has a leg in both networks: requests come to the VIP in the
// public one, the balancer tunnels them through the private one, and the app nodes answer the client directly.
const (
	publicInterface  = "eth10"
	privateInterface = "eth0"
	healthPath       = "/run/health"
)

// ConfigPath is where lb.toml stands on every host.
const ConfigPath = "/run/lb.toml"

// VIP is the virtual IP that the client knows; Port is what it asks there.
var VIP = netip.MustParseAddr("204.109.13.7")

// Port is the port of the service on the VIP.
const Port = 443

// AgentInterval is the time between two runs of an agent's check. A guest under emulation that is busy with other things
// too needs up to a second for a script.
const AgentInterval = 2 * time.Second

// Options says how the scenario differs from the slides.
type Options struct {
	Binary        string        // path of lb
	Nodes         int           // app nodes that the cluster starts with; Spare more stand ready
	Spare         int           // app nodes that run but are not in the cluster's config yet
	Scheduler     string        // IPVS scheduler
	RampUp        time.Duration // ramp_up_time of the cluster
	CheckInterval time.Duration // between two of the balancer's polls of a node
	Logs          io.Writer     // where the daemons' logs go, each line behind its host's name; nil is nowhere
}

// Scenario is the running stage.
type Site struct {
	Client       *lab.Host
	BalancerHost *lab.Host
	Apps         []*App
	Balancer     *Daemon

	options    Options
	lab        *lab.Lab
	configured int // how many of Apps the cluster's config names

	location string     // the data centre; "" where there is one only
	peer     netip.Addr // of the other data centre's balancer
}

// New builds the hosts, writes the one config file to each, and starts an agent and an app on every app node. The
// balancer is not started yet. Close it whatever happens.
func New(ctx context.Context, log *slog.Logger, o Options) (*Site, error) {
	l, err := lab.New(log)
	if err != nil {
		return nil, err
	}
	s := &Site{options: o, lab: l, configured: o.Nodes}
	if err := s.build(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Site) build(ctx context.Context) error {
	public, err := s.lab.Switch("public")
	if err != nil {
		return err
	}
	private, err := s.lab.Switch("private")
	if err != nil {
		return err
	}
	s.Client, err = s.lab.Host("client", newLink(public, publicInterface, "204.109.13.100/24"))
	if err != nil {
		return err
	}
	s.BalancerHost, err = s.lab.Host("load01", newLink(public, publicInterface, "204.109.13.11/24"), newLink(private, privateInterface, "10.0.0.254/24"))
	if err != nil {
		return err
	}
	if err := s.BalancerHost.Do(func() error { return vip.Add(ctx, publicInterface, netip.PrefixFrom(VIP, 32)) }); err != nil {
		return fmt.Errorf("virtual IP on load01: %w", err)
	}
	for n := 1; n <= s.options.Nodes+s.options.Spare; n++ {
		host, err := s.lab.Host(fmt.Sprintf("app%02d", n),
			newLink(public, publicInterface, fmt.Sprintf("204.109.13.%d/24", 100+n)),
			newLink(private, privateInterface, fmt.Sprintf("10.0.0.%d/24", n)))
		if err != nil {
			return err
		}
		app := NewApp(host, netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}))
		s.Apps = append(s.Apps, app)
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	s.Balancer = s.newBalancer(s.BalancerHost)
	return s.startApps(ctx)
}

// startApps starts the application and the agent on every app node.
func (s *Site) startApps(ctx context.Context) error {
	for _, app := range s.Apps {
		if err := app.Serve(ctx); err != nil {
			return err
		}
		app.Agent = s.newAgent(app.Host)
		if err := app.Agent.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func newLink(sw *lab.Switch, name, prefix string) lab.Link {
	return lab.Link{Switch: sw, Interface: name, Addresses: []netip.Prefix{netip.MustParsePrefix(prefix)}}
}

// Close ends every process and takes the hosts down. It may be called twice.
func (s *Site) Close() error {
	for _, app := range s.Apps {
		app.Stop()
	}
	return s.lab.Close()
}

// Join puts the first spare node into the config of every machine, as an operator would: first the node reads it, so that
// it takes packets for the VIP, and then the balancer.
func (s *Site) AddSpareNode(ctx context.Context) error {
	if s.configured == len(s.Apps) {
		return errors.New("no spare node left to join")
	}
	app := s.Apps[s.configured]
	s.configured++
	if err := s.writeConfig(); err != nil {
		return err
	}
	if err := app.Agent.Reload(); err != nil {
		return err
	}
	if err := app.waitForVIP(ctx); err != nil {
		return err
	}
	return s.Balancer.Reload()
}

// Members returns the app nodes that the config names.
func (s *Site) ConfiguredApps() []*App { return s.Apps[:s.configured] }

// LB runs lb on a host, with the scenario's config, and returns what it printed.
func (s *Site) RunLB(ctx context.Context, host *lab.Host, args ...string) (string, error) {
	return host.Run(ctx, "env", append([]string{"LB_CONFIG=" + ConfigPath, s.options.Binary}, args...)...)
}

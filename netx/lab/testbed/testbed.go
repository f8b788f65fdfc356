// Package testbed builds the setup of the demo and the end-to-end tests: a client, a load balancer and app nodes as lab hosts that run lb.
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

// Names from the slides of the talk. Every machine is in two networks: requests arrive at the VIP in the public network, the balancer
// tunnels them through the private one, and the app nodes respond to the client directly.
const (
	publicInterface  = "eth10"
	privateInterface = "eth0"
	healthPath       = "/run/health"
)

// ConfigPath is the path of lb.toml on every host.
const ConfigPath = "/run/lb.toml"

// VIP is the virtual IP that the client sends requests to.
var VIP = netip.MustParseAddr("204.109.13.7")

// Port is the port of the service on the VIP.
const Port = 443

// AgentInterval is the interval of the agents' checks. A busy emulated guest needs up to a second to run a script.
const AgentInterval = 2 * time.Second

// Options configures a site.
type Options struct {
	Binary        string        // path of lb
	Nodes         int           // app nodes in the cluster's configuration at the start
	Spare         int           // further app nodes that run but are not in the configuration yet
	Scheduler     string        // IPVS scheduler
	RampUp        time.Duration // ramp_up_time of the cluster
	CheckInterval time.Duration // check_interval of the cluster
	Logs          io.Writer     // receives the daemons' logs, each line prefixed with the host's name; nil discards
}

// Site is a running setup: one data centre.
type Site struct {
	Client       *lab.Host
	BalancerHost *lab.Host
	Apps         []*App
	Balancer     *Daemon

	options    Options
	lab        *lab.Lab
	configured int // number of Apps in the cluster's configuration

	location string     // name of the data centre; "" if there is only one
	peer     netip.Addr // the other data centre's balancer
}

// New builds the hosts, writes the same lb.toml to each, and starts an application and an agent on every app node. The balancer is not
// started. The caller closes the site.
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
	s.BalancerHost, err = s.lab.Host("load01",
		newLink(public, publicInterface, "204.109.13.11/24"), newLink(private, privateInterface, "10.0.0.254/24"))
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

// startApps starts the application and the agent of every app node.
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

// Close ends all processes and removes the hosts. It may be called twice.
func (s *Site) Close() error {
	for _, app := range s.Apps {
		app.Stop()
	}
	return s.lab.Close()
}

// AddSpareNode adds the first spare node to the configuration of every machine, as an operator would: the node reloads first, so that it
// accepts packets for the VIP, then the balancer.
func (s *Site) AddSpareNode(ctx context.Context) error {
	if s.configured == len(s.Apps) {
		return errors.New("no spare node left to add")
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

// ConfiguredApps returns the app nodes in the cluster's configuration.
func (s *Site) ConfiguredApps() []*App { return s.Apps[:s.configured] }

// RunLB runs lb on a host with the site's configuration and returns its standard output.
func (s *Site) RunLB(ctx context.Context, host *lab.Host, args ...string) (string, error) {
	return host.Run(ctx, "env", append([]string{"LB_CONFIG=" + ConfigPath, s.options.Binary}, args...)...)
}

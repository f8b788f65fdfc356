// Package cluster runs three load balancers under Corosync and Pacemaker in the lab, with the real lb on them and on four app nodes, a
// client, and a power strip as fence device.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/testbed"
)

const (
	publicInterface = "eth10" // of every machine in the public network
	webappMark      = 7
)

// Addresses that the client sends requests to: webapp's virtual IP, and a baseline that Pacemaker moves without lb, for comparison.
var (
	Webapp   = netip.AddrPortFrom(netip.AddrFrom4([4]byte{204, 109, 13, 7}), testbed.Port)
	Baseline = netip.AddrPortFrom(netip.AddrFrom4([4]byte{204, 109, 13, 9}), 8080)
)

// Options configures the cluster.
type Options struct {
	Binary string // path of lb
	Logs   string // directory for the balancers' logs, with a subdirectory for each boot
}

// Cluster is a running cluster.
type Cluster struct {
	Client    *lab.Host
	Apps      []*testbed.App
	Balancers []*Balancer

	options    Options
	lab        *lab.Lab
	powerStrip *powerStrip
	nets       networks
}

// networks are the switches: public for requests, private for lb and Corosync, power for the power strip.
type networks struct{ public, private, power *lab.Switch }

// New builds the hosts and starts an agent and an application on each app node. The balancers are powered off. The caller closes the
// cluster.
func New(ctx context.Context, log *slog.Logger, o Options) (*Cluster, error) {
	l, err := lab.New(log)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, lab: l}
	if err := c.build(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) build(ctx context.Context) (err error) {
	for _, n := range []struct {
		name string
		at   **lab.Switch
	}{{"public", &c.nets.public}, {"private", &c.nets.private}, {"power", &c.nets.power}} {
		if *n.at, err = c.lab.Switch(n.name); err != nil {
			return err
		}
	}
	c.Client, err = c.lab.Host("client", newLink(c.nets.public, publicInterface, "204.109.13.100/24"))
	if err != nil {
		return err
	}
	for n := 1; n <= balancerCount; n++ {
		c.Balancers = append(c.Balancers, &Balancer{Name: fmt.Sprintf("load%02d", n), number: n, cluster: c})
	}
	if c.powerStrip, err = newPowerStrip(ctx, c); err != nil {
		return err
	}
	for n := 1; n <= appCount; n++ {
		if err := c.addApp(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// addApp starts an app node. Each has a different health, so that weights identify nodes.
func (c *Cluster) addApp(ctx context.Context, n int) error {
	address := netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
	host, err := c.lab.Host(fmt.Sprintf("app%02d", n),
		newLink(c.nets.public, publicInterface, fmt.Sprintf("204.109.13.%d/24", 100+n)),
		newLink(c.nets.private, "eth0", address.String()+"/24"))
	if err != nil {
		return err
	}
	app := testbed.NewApp(host, address)
	c.Apps = append(c.Apps, app)
	if err := host.WriteFile(testbed.ConfigPath, []byte(fleetConfig), 0o644); err != nil {
		return err
	}
	if err := app.Serve(ctx); err != nil {
		return err
	}
	app.Agent = &testbed.Daemon{Host: host, Binary: c.options.Binary, Socket: "/run/lb/agent.sock", Args: []string{"agent"}}
	if err := app.Agent.Start(ctx); err != nil {
		return err
	}
	_, err = host.Run(ctx, "env", "LB_CONFIG="+testbed.ConfigPath, c.options.Binary,
		"ctl", "force", "health", fmt.Sprint(nodeHealth(n)), "-r", "to tell the nodes apart")
	return err
}

// nodeHealth returns the health of app node n, from 1: 100, 90, 80, …
func nodeHealth(n int) int { return 110 - 10*n }

func newLink(sw *lab.Switch, name, prefix string) lab.Link {
	return lab.Link{Switch: sw, Interface: name, Addresses: []netip.Prefix{netip.MustParsePrefix(prefix)}}
}

// Close ends all processes and removes the hosts. It may be called twice.
func (c *Cluster) Close() error {
	for _, app := range c.Apps {
		app.Stop()
	}
	if c.powerStrip != nil {
		_ = c.powerStrip.stop()
	}
	for _, b := range c.Balancers {
		b.stopBaseline()
	}
	return c.lab.Close()
}

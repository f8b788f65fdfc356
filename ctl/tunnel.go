package ctl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/netx/tunnel"
)

// TunnelCommand sets up this machine as a real server once, or undoes that; `lb agent` does it by itself where agent.tunnel is
// enabled.
func TunnelCommand(con Console) *cli.Command {
	return &cli.Command{
		Name:  "tunnel",
		Usage: "set this machine up to take packets out of the balancer's tunnel, once, or undo that",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "undo", Usage: "take away what was set up"}},
		Description: `Reads the clusters of the configuration that this machine is a node of, and prints each step that it does.

Examples:
  lb agent tunnel
  lb agent tunnel --undo`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			cfg, err := con.Load(c.String("config"))
			if err != nil {
				return err
			}
			local, err := localAddrs()
			if err != nil {
				return err
			}
			setup := tunnel.New(cfg.Agent.TunnelDir(), slog.New(slog.DiscardHandler)) // the steps are printed
			want := tunnelWanted(cfg.Clusters, local)
			if len(want.VIPs) == 0 && !c.Bool("undo") {
				return fmt.Errorf("this machine (%v) is no node of a cluster with ipip forwarding in %s: nothing to set up", local, cfg.Path)
			}
			return Tunnel(c.Context, con.Out, setup, want, c.Bool("undo"))
		},
	}
}

// localAddrs asks the kernel for this machine's addresses.
func localAddrs() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("find out this machine's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, n := range nets {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs, nil
}

// TunnelSetup makes this machine a real server behind IPIP, and undoes that. It returns the steps that it did.
type TunnelSetup interface {
	Up(ctx context.Context, want tunnel.Wanted) ([]tunnel.Step, error)
	Down(ctx context.Context) ([]tunnel.Step, error)
}

// Tunnel sets this machine up for the virtual IPs of the clusters that it is a node of, or undoes that, and prints each step.
func Tunnel(ctx context.Context, out io.Writer, setup TunnelSetup, want tunnel.Wanted, undo bool) error {
	do, none := func(ctx context.Context) ([]tunnel.Step, error) { return setup.Up(ctx, want) }, "all is set up already"
	if undo {
		do, none = setup.Down, "nothing is set up"
	}
	steps, err := do(ctx)
	for _, s := range steps {
		fmt.Fprintln(out, s)
	}
	if err == nil && len(steps) == 0 {
		fmt.Fprintln(out, none)
	}
	return err
}

// tunnelWanted is what this machine, which has the local addresses, has to take out of tunnels as a node of the clusters.
func tunnelWanted(clusters []config.Cluster, local []netip.Addr) tunnel.Wanted {
	var want tunnel.Wanted
	mine := map[netip.Addr]bool{}
	for _, a := range local {
		mine[a.Unmap().WithZone("")] = true
	}
	for _, c := range clusters {
		isNode := slices.ContainsFunc(c.Nodes, func(n config.Node) bool { return mine[n.Address.Unmap().WithZone("")] })
		if c.Forwarding != config.IPIP || !isNode {
			continue
		}
		for _, v := range c.VIPs {
			want.VIPs = append(want.VIPs, v.Address)
		}
	}
	return want
}

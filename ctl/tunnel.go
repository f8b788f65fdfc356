package ctl

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"

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
			local, err := tunnel.LocalAddrs()
			if err != nil {
				return err
			}
			setup := tunnel.New(cfg.Agent.TunnelDir(), slog.New(slog.DiscardHandler)) // the steps are printed
			want := tunnel.DesiredFor(cfg.Clusters, local)
			if len(want.VIPs) == 0 && !c.Bool("undo") {
				return fmt.Errorf("this machine (%v) is no node of a cluster with ipip forwarding in %s: nothing to set up", local, cfg.Path)
			}
			return Tunnel(c.Context, con.Out, setup, want, c.Bool("undo"))
		},
	}
}

// TunnelSetup makes this machine a real server behind IPIP, and undoes that. It returns the steps that it did.
type TunnelSetup interface {
	Up(ctx context.Context, want tunnel.Desired) ([]tunnel.Step, error)
	Down(ctx context.Context) ([]tunnel.Step, error)
}

// Tunnel sets this machine up for the virtual IPs of the clusters that it is a node of, or undoes that, and prints each step.
func Tunnel(ctx context.Context, out io.Writer, setup TunnelSetup, want tunnel.Desired, undo bool) error {
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

package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/tunnel"
)

// TunnelUp sets up this machine as a real server for the ipip clusters that have it as a node, and prints each step.
func TunnelUp(ctx context.Context, out io.Writer, cfg *config.Config) error {
	local, err := tunnel.LocalAddrs()
	if err != nil {
		return err
	}
	want := tunnel.DesiredFor(cfg.Clusters, local)
	if len(want.VIPs) == 0 {
		return fmt.Errorf("nothing to set up: no cluster with ipip forwarding in %s has this machine (%v) as a node", cfg.Path, local)
	}
	setup := newTunnelSetup(cfg)
	return printSteps(out, "already set up", func() ([]tunnel.Step, error) { return setup.Up(ctx, want) })
}

// TunnelDown undoes TunnelUp and prints each step. While an agent would repair the tunnel it is refused.
func TunnelDown(ctx context.Context, out io.Writer, cfg *config.Config) error {
	if cfg.Agent.Tunnel.Enabled && accepts(ctx, cfg.Agent.Control) {
		return errAgentRepairs
	}
	setup := newTunnelSetup(cfg)
	return printSteps(out, "nothing to undo", func() ([]tunnel.Step, error) { return setup.Down(ctx) })
}

// errAgentRepairs means that the tunnel cannot be undone now.
var errAgentRepairs = errors.New("refusing to undo the tunnel: lb agent is running and would set it up again: " +
	"set agent.tunnel.enabled = false and `systemctl reload lb-agent`, or stop the agent")

// accepts reports whether a daemon accepts connections on a Unix socket.
func accepts(ctx context.Context, socket string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	return err == nil && conn.Close() == nil
}

// newTunnelSetup returns a set-up without a log: the steps are printed.
func newTunnelSetup(cfg *config.Config) *tunnel.Setup {
	return tunnel.New(cfg.Agent.TunnelDir(), slog.New(slog.DiscardHandler))
}

// printSteps prints the steps that do carried out, also before an error; none is the text for no steps.
func printSteps(out io.Writer, none string, do func() ([]tunnel.Step, error)) error {
	steps, err := do()
	for _, s := range steps {
		fmt.Fprintln(out, s)
	}
	if err == nil && len(steps) == 0 {
		fmt.Fprintln(out, none)
	}
	return err
}

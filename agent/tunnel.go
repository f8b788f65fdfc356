package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/tunnel"
)

// setUpTunnel makes this machine a real server for the virtual IPs of the clusters it is a node of.
func (a *Agent) setUpTunnel(ctx context.Context, cfg *config.Config) error {
	if !cfg.Agent.Tunnel.Enabled {
		return nil
	}
	if a.opts.Tunnel == nil {
		return errors.New("agent.tunnel: this program cannot set up tunnels: set agent.tunnel.enabled = false")
	}
	local, err := a.opts.LocalAddrs()
	if err != nil {
		return fmt.Errorf("agent.tunnel: %w", err)
	}
	want := tunnel.DesiredFor(cfg.Clusters, local)
	if len(want.VIPs) == 0 {
		a.log.Warn("agent.tunnel is enabled, but this machine is not a node of any cluster with ipip forwarding",
			"addresses", local)
		return nil
	}
	if err := a.opts.Tunnel(ctx, want); err != nil {
		return fmt.Errorf("agent.tunnel: set up this machine for %v: %w", want.VIPs, err)
	}
	a.log.Info("tunnel is set up", "vips", want.VIPs)
	return nil
}

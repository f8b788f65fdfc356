package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/braintree/lb/config"
)

// setUpTunnel makes this machine a real server for the virtual IPs of the clusters that it is a node of.
func (a *Agent) setUpTunnel(ctx context.Context, cfg *config.Config) error {
	if !cfg.Agent.Tunnel.Enabled {
		return nil
	}
	if a.opts.Tunnel == nil {
		return errors.New("agent.tunnel: this program cannot set up tunnels: set agent.tunnel.enabled = false")
	}
	local, err := a.opts.LocalAddrs()
	if err != nil {
		return fmt.Errorf("agent.tunnel: find out this machine's addresses: %w", err)
	}
	vips := tunnelledVIPs(cfg.Clusters, local)
	if len(vips) == 0 {
		a.log.Warn("agent.tunnel is enabled, but this machine is no node of a cluster with ipip forwarding: nothing is set up",
			"addresses", local)
		return nil
	}
	if err := a.opts.Tunnel(ctx, vips); err != nil {
		return fmt.Errorf("agent.tunnel: set up this machine for %v: %w", vips, err)
	}
	a.log.Info("tunnel is set up", "vips", vips)
	return nil
}

// tunnelledVIPs lists the virtual IPs whose packets come to one of the local addresses through an IPIP tunnel, sorted.
func tunnelledVIPs(clusters []config.Cluster, local []netip.Addr) []netip.Addr {
	mine := map[netip.Addr]bool{}
	for _, addr := range local {
		mine[addr.Unmap().WithZone("")] = true
	}
	var vips []netip.Addr
	for _, c := range clusters {
		isNode := slices.ContainsFunc(c.Nodes, func(n config.Node) bool { return mine[n.Address.Unmap().WithZone("")] })
		if c.Forwarding != config.IPIP || !isNode {
			continue
		}
		for _, v := range c.VIPs {
			vips = append(vips, v.Address.Unmap())
		}
	}
	slices.SortFunc(vips, netip.Addr.Compare)
	return slices.Compact(vips)
}

// localAddrs asks the kernel for this machine's addresses.
func localAddrs() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs, nil
}

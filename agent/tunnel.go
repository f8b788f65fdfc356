package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/tunnelwatch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/tunnel"
)

// useTunnel makes this machine a real server for the virtual IPs of the clusters it is a node of, and watches over that from
// then on. With watch_only it watches what someone else set up.
func (a *Agent) useTunnel(ctx context.Context, cfg *config.Config) error {
	settings := cfg.Agent.Tunnel
	if !settings.Enabled && !settings.WatchOnly {
		if a.tunnel != nil {
			return a.tunnel.Use(ctx, tunnelwatch.Wanted{})
		}
		return nil
	}
	if a.tunnel == nil {
		return errors.New("agent.tunnel: this program cannot set up tunnels: set agent.tunnel.enabled = false")
	}
	local, err := a.opts.LocalAddrs()
	if err != nil {
		return fmt.Errorf("agent.tunnel: %w", err)
	}
	want := tunnelwatch.Wanted{Desired: tunnel.DesiredFor(cfg.Clusters, local), WatchOnly: settings.WatchOnly}
	if len(want.VIPs) == 0 {
		a.log.Warn("agent.tunnel is enabled, but this machine is not a node of any cluster with ipip forwarding",
			"addresses", local)
		return a.tunnel.Use(ctx, tunnelwatch.Wanted{})
	}
	behind := servicesBehind(cfg, local)
	a.behind.Store(&behind)
	if err := a.tunnel.Use(ctx, want); err != nil {
		return fmt.Errorf("agent.tunnel: set up this machine for %v: %w", want.VIPs, err)
	}
	if settings.WatchOnly {
		a.log.Info("tunnel is watched, but not set up or repaired", "vips", want.VIPs)
	} else {
		a.log.Info("tunnel is set up", "vips", want.VIPs)
	}
	return nil
}

// servicesBehind returns the names of the services that get the packets for each virtual IP. A cluster's service is the one in
// the path of this machine's node entry: webapp for /webapp/status. If the agent has no such service, it is every service of
// the other ipip clusters here, and if there are none, every service of the agent: it must not report health 100 for an
// unknown reason.
func servicesBehind(cfg *config.Config, local []netip.Addr) map[netip.Addr][]string {
	behind := map[netip.Addr][]string{}
	var mapped []string
	var unmapped []netip.Addr
	for _, c := range cfg.Clusters {
		vips := tunnel.DesiredFor([]config.Cluster{c}, local).VIPs
		if len(vips) == 0 {
			continue
		}
		var names []string
		for _, n := range c.Nodes {
			name, _, _ := strings.Cut(strings.TrimPrefix(n.Path, "/"), "/")
			if _, ok := cfg.Service(name); ok && tunnel.IsLocal(n.Address, local) {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			unmapped = append(unmapped, vips...)
		}
		mapped = append(mapped, names...)
		for _, v := range vips {
			behind[v] = append(behind[v], names...)
		}
	}
	if len(mapped) == 0 {
		for _, s := range cfg.Services {
			mapped = append(mapped, s.Name)
		}
	}
	for _, v := range unmapped {
		behind[v] = append(behind[v], mapped...)
	}
	return behind
}

// publishTunnel gives the services behind faults health 0.
func (a *Agent) publishTunnel(s tunnelwatch.Status) {
	behind := a.behind.Load()
	if behind == nil {
		return
	}
	faults := map[string][]string{} // by service
	for _, f := range s.Faults {
		for _, v := range f.VIPs {
			for _, name := range (*behind)[v] {
				if !slices.Contains(faults[name], f.Text) {
					faults[name] = append(faults[name], f.Text)
				}
			}
		}
	}
	texts := map[string]string{}
	for name, list := range faults {
		texts[name] = strings.Join(list, "; ")
	}
	if a.services.SetFaults(texts) {
		a.streams.RefreshAll()
	}
}

// tunnelReport is the state of the tunnel as in JSON; nil: none is watched.
func (a *Agent) tunnelReport() *api.Tunnel {
	if a.tunnel == nil {
		return nil
	}
	s := a.tunnel.Status()
	if len(s.VIPs) == 0 {
		return nil
	}
	t := &api.Tunnel{VIPs: s.VIPs, WatchOnly: s.WatchOnly, Drifts: s.Drifts, Faults: make([]api.TunnelFault, len(s.Faults))}
	for i, f := range s.Faults {
		t.Faults[i] = api.TunnelFault{Text: f.Text, VIPs: f.VIPs}
	}
	if s.Drifts > 0 {
		t.LastDrift = &api.TunnelDrift{At: s.LastDrift.At, What: s.LastDrift.What}
	}
	return t
}

package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/netx/tunnel"
)

func lookAtTunnel(ctx context.Context, m *Machine) ([]Finding, error) {
	current, err := tunnel.New(m.config.Agent.TunnelDir(), slog.New(slog.DiscardHandler)).State(ctx)
	if err != nil {
		return nil, err
	}
	want := tunnel.DesiredFor(m.config.Clusters, m.local)
	settings := m.config.Agent.Tunnel
	found := examineTunnel(current, want)
	if settings.WatchOnly {
		found = examineForeignTunnel(current, want)
	}
	if !settings.Enabled && !settings.WatchOnly {
		return found, nil
	}
	var report api.Report
	if ask(ctx, client.Agent(), m.config.Agent.Control, "/", &report) != nil {
		return found, nil // another promise is that lb agent answers
	}
	return append(found, examineWatch(report.Tunnel, found[0].Good)...), nil
}

// examineWatch says what the agent's watch over the tunnel lacks. What the kernel shows anyway is not repeated: right is whether the
// tunnel is right now.
func examineWatch(watched *api.Tunnel, right bool) []Finding {
	if watched == nil {
		return []Finding{bad("lb agent does not watch the tunnel", "it runs with another configuration, "+
			"so what other programs change is not repaired, and the health does not show it", "`systemctl reload lb-agent`")}
	}
	var found []Finding
	for _, f := range watched.Faults {
		if right {
			found = append(found, bad(f.Text, "packets are lost again and again, so the services behind it have health 0",
				"find the program that does it: see the log of lb agent").of(names(f.VIPs)...))
		}
	}
	return found
}

// examineForeignTunnel says what is wrong with a tunnel that someone else set up.
func examineForeignTunnel(current tunnel.State, want tunnel.Desired) []Finding {
	const (
		why = "packets that balancers tunnel to this machine are lost, or replies do not reach clients"
		fix = "correct it where the tunnel is set up, or let lb do it: agent.tunnel.enabled = true instead of watch_only"
	)
	faults, suspected := tunnel.ForeignFaults(current, want)
	var found []Finding
	for _, f := range faults {
		found = append(found, bad("the tunnel that others set up: "+f.Text, why, fix).of(names(f.VIPs)...))
	}
	for _, f := range suspected {
		finding := bad("the tunnel that others set up: "+f.Text, why, fix+"; ignore it if it is handled otherwise")
		found = append(found, finding.of(names(f.VIPs)...))
	}
	if len(found) == 0 {
		found = append(found, good("the tunnel that others set up accepts packets for %s", fmt.Sprint(want.VIPs)))
	}
	return found
}

func names(vips []netip.Addr) []string {
	list := make([]string, len(vips))
	for i, v := range vips {
		list[i] = v.String()
	}
	return list
}

// examineTunnel says what the tunnel's set-up lacks.
func examineTunnel(current tunnel.State, want tunnel.Desired) []Finding {
	const why = "packets that balancers tunnel to this machine are lost, or replies do not reach clients"
	steps, err := tunnel.Plan(current, want)
	var found []Finding
	if len(steps) > 0 {
		missing := make([]string, len(steps))
		for i, step := range steps {
			missing[i] = step.String()
		}
		found = append(found, bad("the tunnel is not fully set up; missing: "+strings.Join(missing, "; "), why,
			"`lb agent tunnel`, or agent.tunnel.enabled = true"))
	}
	if err != nil {
		found = append(found, bad("the tunnel cannot be set up", strings.ReplaceAll(err.Error(), "\n", "; "),
			"fix that, then run `lb agent tunnel`"))
	}
	if len(found) == 0 {
		found = append(found, good("the tunnel accepts packets for %s", fmt.Sprint(want.VIPs)))
	}
	return found
}

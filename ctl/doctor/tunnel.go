package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/braintree/lb/netx/tunnel"
)

func lookAtTunnel(ctx context.Context, m *Machine) ([]Finding, error) {
	current, err := tunnel.New(m.config.Agent.TunnelDir(), slog.New(slog.DiscardHandler)).State(ctx)
	if err != nil {
		return nil, err
	}
	return examineTunnel(current, tunnel.DesiredFor(m.config.Clusters, m.local)), nil
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

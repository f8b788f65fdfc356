package doctor

import (
	"context"
	"slices"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/machine"
)

func lookAtNetwork(_ context.Context, m *Machine) ([]Finding, error) {
	s, err := machine.Read()
	if err != nil {
		return nil, err
	}
	return examineNetwork(m.config, s), nil
}

// examineNetwork compares the machine's network with what the configuration needs. What has a promise of its own is left out: the
// settings, relays and sync daemons.
func examineNetwork(cfg *config.Config, s *machine.State) []Finding {
	var settings []string
	for _, setting := range ipvs.RecommendedSysctls(ipvs.Features(cfg.KernelFeatures())) {
		settings = append(settings, setting.Name)
	}
	rest := &config.Config{Clusters: slices.Clone(cfg.Clusters)}
	for i := range rest.Clusters {
		rest.Clusters[i].Relay.Enabled = false
	}
	var found []Finding
	for _, p := range cluster.Examine(rest, s) {
		if !slices.Contains(settings, p.Subject) {
			f := bad(p.Text, "clients may not be served", p.Fix)
			if p.Cluster != "" {
				f = f.of(p.Cluster)
			}
			found = append(found, f)
		}
	}
	if len(found) == 0 && len(cfg.Clusters) > 0 {
		found = append(found, good("the interfaces of virtual IPs are there and up"))
	}
	return found
}

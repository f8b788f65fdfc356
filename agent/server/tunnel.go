package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/service"
)

// tunnel returns the state of this machine's tunnel; nil: none.
func (s *Server) tunnel() *api.Tunnel { return tunnelOf(s.opts) }

func tunnelOf(o Options) *api.Tunnel {
	if o.Tunnel == nil {
		return nil
	}
	return o.Tunnel()
}

// tunnelLabel names the tunnel on the status page of a service that it makes unreachable.
func tunnelLabel(v service.View) string { return "Dependency::Tunnel(" + v.Fault + ")" }

// tunnelText is added to the body of GET / while the tunnel has faults.
func tunnelText(t *api.Tunnel) string {
	if t == nil || len(t.Faults) == 0 {
		return ""
	}
	var b strings.Builder
	for _, f := range t.Faults {
		fmt.Fprintf(&b, "\n tunnel: %s: no traffic for %s", f.Text, joinVIPs(f))
	}
	return b.String() + "\n"
}

func joinVIPs(f api.TunnelFault) string {
	names := make([]string, len(f.VIPs))
	for i, v := range f.VIPs {
		names[i] = v.String()
	}
	return strings.Join(names, ", ")
}

// tunnelCollector reads the state of the tunnel when it is scraped. It has no series where there is none.
type tunnelCollector struct {
	opts       Options
	up, drifts *prometheus.Desc
}

func newTunnelCollector(o Options) *tunnelCollector {
	return &tunnelCollector{opts: o,
		up: prometheus.NewDesc("lb_agent_tunnel_up", "Whether this machine receives the balancers' packets for the virtual IP.",
			[]string{"vip"}, nil),
		drifts: prometheus.NewDesc("lb_agent_tunnel_drift_total", "Changes of the tunnel by other programs that lb has noticed.", nil, nil),
	}
}

// Describe is for prometheus.Collector.
func (c *tunnelCollector) Describe(to chan<- *prometheus.Desc) { to <- c.up; to <- c.drifts }

// Collect is for prometheus.Collector.
func (c *tunnelCollector) Collect(to chan<- prometheus.Metric) {
	t := tunnelOf(c.opts)
	if t == nil {
		return
	}
	for _, v := range t.VIPs {
		faulty := slices.ContainsFunc(t.Faults, func(f api.TunnelFault) bool { return slices.Contains(f.VIPs, v) })
		to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, oneIf(!faulty), v.String())
	}
	to <- prometheus.MustNewConstMetric(c.drifts, prometheus.CounterValue, float64(t.Drifts))
}

package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/braintree/lb/balancer/plan"
)

// Metrics count what reconciles do.
type Metrics struct {
	Duration   prometheus.Histogram
	Operations *prometheus.CounterVec
	Drift      prometheus.Counter
	Reloads    *prometheus.CounterVec
}

func newMetrics() *Metrics {
	m := &Metrics{
		Duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lb_balancer_cycle_duration_seconds", Help: "Duration of a reconcile: read the kernel's table, decide, diff, apply.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 20},
		}),
		Operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_balancer_kernel_operations_total", Help: "Changes made to the kernel's load-balancing table.",
		}, []string{"operation"}),
		Drift: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lb_balancer_drift_repairs_total", Help: "Changes that undid changes of other programs to the kernel's tables.",
		}),
		Reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_balancer_reloads_total", Help: "Reloads of the configuration.",
		}, []string{"outcome"}),
	}
	for _, kind := range []plan.Kind{plan.PutService, plan.PutDestination, plan.DeleteDestination, plan.DeleteService} {
		m.Operations.WithLabelValues(operationLabel(kind))
	}
	for _, outcome := range []string{"done", "incomplete", "refused"} {
		m.Reloads.WithLabelValues(outcome)
	}
	return m
}

// Collectors are all of them, for a registry.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.Duration, m.Operations, m.Drift, m.Reloads}
}

// operationLabel is the label of an operation's kind.
func operationLabel(k plan.Kind) string {
	switch k {
	case plan.PutService:
		return "put_service"
	case plan.PutDestination:
		return "put_node"
	case plan.DeleteDestination:
		return "remove_node"
	}
	return "remove_service"
}

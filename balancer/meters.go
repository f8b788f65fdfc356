package balancer

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/hook"
	"github.com/braintree/lb/balancer/plan"
)

// maxScrapes bounds how many pages for Prometheus are made at one time; others get 503.
const maxScrapes = 4

// scrapeTime is how old the kernel's figures on such a page may be while the kernel keeps the engine busy.
const scrapeTime = time.Second

// meters count what the engine does.
type meters struct {
	cycles     prometheus.Histogram
	operations *prometheus.CounterVec
	drift      prometheus.Counter
	reloads    *prometheus.CounterVec
}

func newMeters() *meters {
	m := &meters{
		cycles: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lb_balancer_cycle_duration_seconds", Help: "Time that a cycle takes: read the kernel's table, decide, plan, apply.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 20},
		}),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_balancer_kernel_operations_total", Help: "Changes made to the kernel's load-balancing table.",
		}, []string{"operation"}),
		drift: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lb_balancer_drift_repairs_total", Help: "Changes that put right what somebody else had changed in the kernel's tables.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_balancer_reloads_total", Help: "Reloads of the configuration.",
		}, []string{"outcome"}),
	}
	for kind := range operationNames() {
		m.operations.WithLabelValues(kind.label())
	}
	for _, outcome := range []string{"done", "refused"} {
		m.reloads.WithLabelValues(outcome)
	}
	return m
}

// operation is a plan's kind in the words of a label.
type operation plan.Kind

func operationNames() map[operation]string {
	return map[operation]string{
		operation(plan.PutService): "put_service", operation(plan.PutDestination): "put_node",
		operation(plan.DeleteDestination): "remove_node", operation(plan.DeleteService): "remove_service",
	}
}

func (o operation) label() string { return operationNames()[o] }

// scrape is GET /metrics. Its figures are those of the status when it is asked.
type scrape struct {
	engine *engine

	running, combined, trouble, rules               *prometheus.Desc
	health, weight, kernel, state, age, read        *prometheus.Desc
	active, inactive, conns, packets, bytes         *prometheus.Desc
	kernelErrors, events, unwritten, streams, hooks *prometheus.Desc
	openStreams                                     func() int
	hookCounts                                      func() map[string]hook.Counts
}

// metricsPage makes GET /metrics.
func (e *engine) metricsPage(version string, openStreams func() int, hooks func() map[string]hook.Counts) http.Handler {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lb_balancer_"+name, help, labels, nil)
	}
	s := &scrape{
		engine: e, openStreams: openStreams, hookCounts: hooks,
		hooks:    desc("hook_events_total", "Events that a hook was to hand on: delivered, failed for good, or lost because it was too slow.", "hook", "outcome"),
		running:  desc("cluster_running", "Whether the cluster is in the kernel by lb's will.", "cluster"),
		combined: desc("cluster_combined_weight", "Weight of the cluster's nodes in the kernel together.", "cluster"),
		trouble:  desc("cluster_trouble", "Whether the kernel refuses something about the cluster.", "cluster"),
		rules:    desc("cluster_nodes", "Nodes of the cluster in the configuration.", "cluster"),
		health:   desc("node_health", "Health by the node's last usable answer.", "cluster", "node"),
		weight:   desc("node_weight", "Weight as decided.", "cluster", "node"),
		kernel:   desc("node_kernel_weight", "Weight in the kernel's table.", "cluster", "node"),
		state:    desc("node_state", "The state that the node is in; always 1.", "cluster", "node", "state"),
		age:      desc("node_reading_age_seconds", "Time since the node's last answer, or since it failed to give one.", "cluster", "node"),
		read:     desc("node_readings_total", "Answers of the node: with a health above 0 (up), with health 0 (down), and none that is usable (silent).", "cluster", "node", "outcome"),
		active:   desc("node_active_connections", "Connections to the node that the kernel counts as active.", "cluster", "node"),
		inactive: desc("node_inactive_connections", "Connections to the node that the kernel remembers beside the active ones.", "cluster", "node"),
		conns:    desc("node_connections_total", "Connections that the kernel has sent to the node since it is in the table.", "cluster", "node"),
		packets:  desc("node_packets_total", "Packets to (in) and, where they come back through the balancer, from the node (out).", "cluster", "node", "direction"),
		bytes:    desc("node_bytes_total", "Bytes to (in) and, where they come back through the balancer, from the node (out).", "cluster", "node", "direction"),

		kernelErrors: desc("kernel_errors_total", "What the kernel refused, and reads of its tables that failed."),
		events:       desc("events_total", "Number of the newest event; it goes on over restarts."),
		unwritten:    desc("events_unwritten_total", "Events that are missing from their file."),
		streams:      desc("event_streams", "Open streams of GET /events."),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lb_balancer_build_info", Help: "The version of lb, and of Go that it was built with; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s, e.meters.cycles, e.meters.operations, e.meters.drift, e.meters.reloads, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// nodeName tells nodes of one cluster that have the same address apart: Prometheus takes no figure twice.
func nodeName(seen map[string]bool, n api.NodeStatus) string {
	name := n.Address
	if seen[name] {
		name += " port " + strconv.Itoa(int(n.Port))
	}
	seen[name] = true
	return name
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// add sums up.
func add(a, b api.Traffic) api.Traffic {
	return api.Traffic{
		Connections: a.Connections + b.Connections, PacketsIn: a.PacketsIn + b.PacketsIn, PacketsOut: a.PacketsOut + b.PacketsOut,
		BytesIn: a.BytesIn + b.BytesIn, BytesOut: a.BytesOut + b.BytesOut,
	}
}

// count counts a reading.
func count(r *api.Readings, reading decide.Reading) {
	switch {
	case !reading.Answered:
		r.Silent++
	case reading.Health > 0:
		r.Up++
	default:
		r.Down++
	}
}

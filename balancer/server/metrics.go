package server

import (
	"context"
	"net/http"
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/braintree/lb/balancer/api"
)

// metrics is GET /metrics. It shows the status of the moment it is scraped.
type metrics struct {
	options     Options
	openStreams func() int
	desc        map[string]*prometheus.Desc
}

// descriptions lists the metrics that metrics makes: name, help, labels. Each name follows "lb_balancer_".
func descriptions() [][]string {
	return [][]string{
		{"cluster_running", "Whether lb runs the cluster in the kernel.", "cluster"},
		{"cluster_combined_weight", "Sum of the weights of the cluster's nodes in the kernel.", "cluster"},
		{"cluster_trouble", "Whether the kernel rejects a change for the cluster, or a problem stands.", "cluster"},
		{"problems", "Problems that stand; with an empty cluster, those that concern every cluster.", "cluster", "kind"},
		{"vip_present", "Whether this machine takes packets for the virtual IP; the interface has it, or should.",
			"cluster", "vip", "interface"},
		{"vip_expected", "Whether the cluster runs here and no other machine has the virtual IP.", "cluster", "vip", "interface"},
		{"cluster_nodes", "Nodes of the cluster in the configuration.", "cluster"},
		{"node_health", "Health in the node's last usable response.", "cluster", "node"},
		{"node_weight", "Weight as decided.", "cluster", "node"},
		{"node_kernel_weight", "Weight in the kernel's table.", "cluster", "node"},
		{"node_state", "The state of the node; always 1.", "cluster", "node", "state"},
		{"node_reading_age_seconds", "Time since the node's last response, or since it failed to respond.", "cluster", "node"},
		{"node_readings_total", "Responses with a health above 0 (up), with health 0 (down), and missing or unusable ones (silent).",
			"cluster", "node", "outcome"},
		{"node_active_connections", "Connections to the node that the kernel counts as active.", "cluster", "node"},
		{"node_inactive_connections", "Connections to the node that the kernel remembers beside the active ones.", "cluster", "node"},
		{"node_connections_total", "Connections that the kernel has sent to the node since the node entered its table.", "cluster", "node"},
		{"node_packets_total", "Packets to the node (in) and, if they return through the balancer, from it (out).",
			"cluster", "node", "direction"},
		{"node_bytes_total", "Bytes to the node (in) and, if they return through the balancer, from it (out).",
			"cluster", "node", "direction"},
		{"kernel_errors_total", "Changes that the kernel rejected, and failed reads of its tables."},
		{"events_total", "Number of the newest event; it continues across restarts."},
		{"events_unwritten_total", "Events that are missing from their file."},
		{"event_streams", "Open streams of GET /events."},
		{"hook_events_total", "Events for a hook: delivered, failed permanently, or lost because it was too slow.", "hook", "outcome"},
	}
}

// newMetrics makes GET /metrics.
func newMetrics(o Options, openStreams func() int) http.Handler {
	m := &metrics{options: o, openStreams: openStreams, desc: map[string]*prometheus.Desc{}}
	for _, d := range descriptions() {
		m.desc[d[0]] = prometheus.NewDesc("lb_balancer_"+d[0], d[1], d[2:], nil)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lb_balancer_build_info", Help: "The version of lb, and of the Go that built it; always 1.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(o.Collectors...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.desc {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	status := m.options.Clusters.Status(ctx)
	for _, c := range status.Clusters {
		s := samples{m, to, []string{c.Name}}
		s.gauge("cluster_running", oneIf(c.Running))
		s.gauge("cluster_combined_weight", float64(c.CombinedWeight))
		s.gauge("cluster_trouble", oneIf(c.Trouble()))
		s.gauge("cluster_nodes", float64(c.Configured()))
		samples{m, to, nil}.problems(c.Name, c.Problems)
		s.vips(c.VIPs)
		seen := map[string]bool{}
		for _, n := range c.Nodes {
			samples{m, to, []string{c.Name, uniqueName(seen, n)}}.node(n)
		}
	}
	s := samples{m, to, nil}
	s.problems("", status.Problems)
	s.counter("kernel_errors_total", uint64(status.KernelErrors))
	s.counter("events_total", m.options.Journal.Last())
	s.counter("events_unwritten_total", m.options.Journal.Lost())
	s.gauge("event_streams", float64(m.openStreams()))
	for name, n := range m.options.Hooks() {
		s := samples{m, to, []string{name}}
		s.counter("hook_events_total", n.Delivered, "delivered")
		s.counter("hook_events_total", n.Failed, "failed")
		s.counter("hook_events_total", n.Lost, "lost")
	}
}

// samples sends samples that share their first labels.
type samples struct {
	metrics *metrics
	to      chan<- prometheus.Metric
	labels  []string
}

func (s samples) send(name string, kind prometheus.ValueType, value float64, further []string) {
	labels := append(s.labels[:len(s.labels):len(s.labels)], further...)
	s.to <- prometheus.MustNewConstMetric(s.metrics.desc[name], kind, value, labels...)
}

func (s samples) gauge(name string, value float64, further ...string) {
	s.send(name, prometheus.GaugeValue, value, further)
}

func (s samples) counter(name string, value uint64, further ...string) {
	s.send(name, prometheus.CounterValue, float64(value), further)
}

// problems sends how many problems of each kind stand.
func (s samples) problems(cluster string, all []api.Problem) {
	kinds := map[string]int{}
	for _, p := range all {
		if p.Cluster == cluster {
			kinds[p.Kind]++
		}
	}
	for kind, n := range kinds {
		s.gauge("problems", float64(n), cluster, kind)
	}
}

// vips sends where the virtual IPs are, as far as that is known.
func (s samples) vips(all []api.VIPStatus) {
	type key struct{ address, on string }
	seen := map[key]bool{}
	for _, v := range all {
		if k := (key{v.Address, v.On()}); !seen[k] {
			seen[k] = true
			s.gauge("vip_present", oneIf(v.Present()), v.Address, v.On())
			s.gauge("vip_expected", oneIf(v.Expected), v.Address, v.On())
		}
	}
}

// node sends the samples of one node. A node that is leaving has only what the kernel knows.
func (s samples) node(n api.NodeStatus) {
	s.gauge("node_state", 1, n.State)
	if n.State != api.StateLeaving {
		s.gauge("node_weight", float64(n.Weight))
		s.counter("node_readings_total", n.Readings.Up, "up")
		s.counter("node_readings_total", n.Readings.Down, "down")
		s.counter("node_readings_total", n.Readings.Silent, "silent")
	}
	if n.Health != nil {
		s.gauge("node_health", float64(*n.Health))
	}
	if n.LastReading != nil {
		s.gauge("node_reading_age_seconds", float64(*n.LastReading)/1000)
	}
	if n.KernelWeight == nil {
		return
	}
	s.gauge("node_kernel_weight", float64(*n.KernelWeight))
	s.gauge("node_active_connections", float64(n.ActiveConns))
	s.gauge("node_inactive_connections", float64(n.InactiveConns))
	s.counter("node_connections_total", n.Traffic.Connections)
	s.counter("node_packets_total", n.Traffic.PacketsIn, "in")
	s.counter("node_packets_total", n.Traffic.PacketsOut, "out")
	s.counter("node_bytes_total", n.Traffic.BytesIn, "in")
	s.counter("node_bytes_total", n.Traffic.BytesOut, "out")
}

// uniqueName distinguishes nodes of one cluster that share an address: Prometheus rejects duplicate samples.
func uniqueName(seen map[string]bool, n api.NodeStatus) string {
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

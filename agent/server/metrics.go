package server

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/agent/stream"
)

// maxScrapes is how many scrapes of GET /metrics are answered at a time; others get 503.
const maxScrapes = 4

// metrics is the page GET /metrics.
type metrics struct {
	page     http.Handler
	requests requestCounts
}

func newMetrics(o Options) *metrics {
	m := &metrics{requests: requestCounts{
		known: map[requestKind]prometheus.Counter{}, CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_agent_http_requests_total", Help: "HTTP requests by page and status code. A stream counts when it starts.",
		}, []string{"page", "code"}),
	}}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lb_agent_build_info", Help: "Version of lb and of the Go toolchain it was built with. Always 1.",
		ConstLabels: prometheus.Labels{"version": o.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(o.Services, o.Streams), newTunnelCollector(o), m.requests.CounterVec, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	return m
}

// collector reads services, checks and streams when it is scraped.
type collector struct {
	services *service.Registry
	streams  *stream.Hub

	health, measured, forced, dependency, metric *prometheus.Desc
	took, age, stale, runs, failures, timeouts   *prometheus.Desc
	open, opened, refused, slow, events          *prometheus.Desc
}

func newCollector(services *service.Registry, streams *stream.Hub) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lb_agent_"+name, help, labels, nil)
	}
	return &collector{
		services: services, streams: streams,

		health:     desc("health", "Health reported to balancers, 0 to 100.", "service"),
		measured:   desc("measured_health", "Health without a force, 0 to 100.", "service"),
		forced:     desc("forced", "Whether a force of this kind is in effect.", "service", "kind"),
		dependency: desc("dependency_up", "Whether the dependency is up according to its latest result.", "service", "check"),
		metric:     desc("metric_value", "Points that the metric contributes to the health, 0 to its weight.", "service", "check"),

		took:  desc("check_duration_seconds", "Duration of the check's latest run.", "service", "check"),
		age:   desc("check_age_seconds", "Time since the check's latest run ended.", "service", "check"),
		stale: desc("check_stale", "Whether the latest result is too old to count.", "service", "check"),
		runs:  desc("check_runs_total", "Runs of the check.", "service", "check"),
		failures: desc("check_failures_total", "Failed runs of the check: a dependency that is down, a metric that could not be measured.",
			"service", "check"),
		timeouts: desc("check_timeouts_total", "Runs of the check that failed because they timed out.", "service", "check"),

		open:    desc("streams", "Open streams of GET /SERVICE/watch."),
		opened:  desc("streams_opened_total", "Streams opened."),
		refused: desc("streams_refused_total", "Streams refused because too many were open or the agent was stopping."),
		slow:    desc("streams_slow_total", "Streams cut off because the client read too slowly."),
		events:  desc("stream_events_total", "Health changes published to streams."),
	}
}

// Describe is for prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.health, c.measured, c.forced, c.dependency, c.metric, c.took, c.age, c.stale, c.runs, c.failures, c.timeouts,
		c.open, c.opened, c.refused, c.slow, c.events,
	} {
		to <- d
	}
}

// Collect is for prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	now := time.Now()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, svc := range c.services.Current().Services {
		v := c.services.View(svc, now)
		gauge(c.health, float64(v.Health), v.Name)
		gauge(c.measured, float64(v.Measured), v.Name)
		for _, kind := range score.Kinds() {
			gauge(c.forced, oneIf(v.Forced != nil && v.Forced.Kind == kind), v.Name, string(kind))
		}
		labels := checkLabels{}
		for _, d := range v.Depends {
			label := labels.unique(d.Name)
			gauge(c.dependency, oneIf(d.Passing(now)), v.Name, label)
			c.collectCheck(to, d, now, label)
		}
		for _, m := range v.Metrics {
			label := labels.unique(m.Name)
			gauge(c.metric, float64(m.Points(now)), v.Name, label)
			c.collectCheck(to, m, now, label)
		}
	}
	n := c.streams.Counts()
	gauge(c.open, float64(n.Open))
	for d, count := range map[*prometheus.Desc]uint64{c.opened: n.Opened, c.refused: n.Refused, c.slow: n.Slow, c.events: n.Events} {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(count))
	}
}

// collectCheck collects what dependencies and metrics have in common.
func (c *collector) collectCheck(to chan<- prometheus.Metric, check service.Check, now time.Time, label string) {
	send := func(d *prometheus.Desc, typ prometheus.ValueType, value float64) {
		to <- prometheus.MustNewConstMetric(d, typ, value, check.Service, label)
	}
	if check.Result != nil {
		send(c.took, prometheus.GaugeValue, check.Result.Took.Seconds())
		send(c.age, prometheus.GaugeValue, check.Age(now).Seconds())
	}
	send(c.stale, prometheus.GaugeValue, oneIf(check.Stale(now)))
	n := check.Counts()
	send(c.runs, prometheus.CounterValue, float64(n.Runs))
	send(c.failures, prometheus.CounterValue, float64(n.Failures))
	send(c.timeouts, prometheus.CounterValue, float64(n.Timeouts))
}

// checkLabels are the labels of one service's checks so far. Checks with the same name get numbers, because
// Prometheus rejects duplicate series.
type checkLabels map[string]bool

func (l checkLabels) unique(name string) string {
	name = strings.ToValidUTF8(name, "\ufffd")
	label := name
	for i := 2; l[label]; i++ {
		label = name + " #" + strconv.Itoa(i)
	}
	l[label] = true
	return label
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

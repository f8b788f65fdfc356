package agent

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/service"
)

// maxScrapes bounds how many pages for Prometheus are made at one time; others get 503.
const maxScrapes = 4

// scrape is GET /metrics. Its figures are read from the latest results when it is asked.
type scrape struct {
	agent    *Agent
	page     http.Handler
	requests requestCounts

	health, measured, forced, dependency, metric *prometheus.Desc
	took, age, stale, runs, failures, timeouts   *prometheus.Desc
	streams, opened, refused, slow, events       *prometheus.Desc
}

func (a *Agent) newScrape() *scrape {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lb_agent_"+name, help, labels, nil)
	}
	s := &scrape{
		agent: a,
		requests: requestCounts{known: map[requestKind]prometheus.Counter{}, CounterVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_agent_http_requests_total", Help: "Requests by what was asked for and the status of the answer; a stream counts when it begins.",
		}, []string{"page", "code"})},

		health:     desc("health", "Health that balancers are told, 0 to 100.", "service"),
		measured:   desc("measured_health", "Health as it would be without a force, 0 to 100.", "service"),
		forced:     desc("forced", "Whether a force of this kind decides the health.", "service", "kind"),
		dependency: desc("dependency_up", "Whether the dependency is well, by its latest result.", "service", "check"),
		metric:     desc("metric_value", "What the metric adds to the health, 0 to its weight.", "service", "check"),

		took:     desc("check_duration_seconds", "How long the latest run of the check took.", "service", "check"),
		age:      desc("check_age_seconds", "Time since the latest run of the check ended.", "service", "check"),
		stale:    desc("check_stale", "Whether the latest result is too old to be believed.", "service", "check"),
		runs:     desc("check_runs_total", "Runs of the check.", "service", "check"),
		failures: desc("check_failures_total", "Runs of the check that failed: a dependency that was not well, a metric that could not be measured.", "service", "check"),
		timeouts: desc("check_timeouts_total", "Runs of the check that failed because their time was up.", "service", "check"),

		streams: desc("streams", "Open streams of GET /SERVICE/watch."),
		opened:  desc("streams_opened_total", "Streams that were opened."),
		refused: desc("streams_refused_total", "Streams that were refused because too many were open, or the agent was stopping."),
		slow:    desc("streams_slow_total", "Streams that were cut off because the client read too slowly."),
		events:  desc("stream_events_total", "Changes that streams were told of."),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lb_agent_build_info", Help: "The version of lb, and of Go that it was built with; always 1.",
		ConstLabels: prometheus.Labels{"version": a.opts.Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s, s.requests.CounterVec, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	return s
}

// Describe sends the figures that Collect makes.
func (s *scrape) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.health, s.measured, s.forced, s.dependency, s.metric, s.took, s.age, s.stale, s.runs, s.failures, s.timeouts,
		s.streams, s.opened, s.refused, s.slow, s.events,
	} {
		to <- d
	}
}

// Collect reads the latest results.
func (s *scrape) Collect(to chan<- prometheus.Metric) {
	now := time.Now()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, svc := range s.agent.services.Current().Services {
		v := s.agent.services.View(svc, now)
		gauge(s.health, float64(v.Health), v.Name)
		gauge(s.measured, float64(v.Measured), v.Name)
		for _, kind := range score.Kinds() {
			gauge(s.forced, oneIf(v.Forced != nil && v.Forced.Kind == kind), v.Name, string(kind))
		}
		names := checkNames{}
		for _, d := range v.Depends {
			check := names.of(d)
			gauge(s.dependency, oneIf(d.Well(now)), v.Name, check)
			s.collectCheck(to, d, now, check)
		}
		for _, m := range v.Metrics {
			check := names.of(m)
			gauge(s.metric, float64(m.Points(now)), v.Name, check)
			s.collectCheck(to, m, now, check)
		}
	}
	open, counts := s.agent.streams.state()
	gauge(s.streams, float64(open))
	for d, n := range map[*prometheus.Desc]uint64{s.opened: counts.opened, s.refused: counts.refused, s.slow: counts.slow, s.events: counts.events} {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
}

// collectCheck gives what dependencies and metrics share.
func (s *scrape) collectCheck(to chan<- prometheus.Metric, l service.Check, now time.Time, check string) {
	send := func(d *prometheus.Desc, typ prometheus.ValueType, value float64) {
		to <- prometheus.MustNewConstMetric(d, typ, value, l.Service, check)
	}
	if l.Result != nil {
		send(s.took, prometheus.GaugeValue, l.Result.Took.Seconds())
		send(s.age, prometheus.GaugeValue, l.Age(now).Seconds())
	}
	send(s.stale, prometheus.GaugeValue, oneIf(l.Stale(now)))
	counts := l.Counts()
	send(s.runs, prometheus.CounterValue, float64(counts.Runs))
	send(s.failures, prometheus.CounterValue, float64(counts.Failures))
	send(s.timeouts, prometheus.CounterValue, float64(counts.Timeouts))
}

// checkNames tells checks of one service that are called the same apart: Prometheus takes no figure twice.
type checkNames map[string]bool

func (n checkNames) of(l service.Check) string {
	display := strings.ToValidUTF8(l.Name, "\ufffd")
	name := display
	for i := 2; n[name]; i++ {
		name = display + " #" + strconv.Itoa(i)
	}
	n[name] = true
	return name
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// counted is the writer of one answer, which counts it when its status is written.
type counted struct {
	http.ResponseWriter
	requests *requestCounts
	page     string
}

func (a *Agent) counted(w http.ResponseWriter, page string) *counted {
	return &counted{w, &a.scrape.requests, page}
}

// requestCounts counts answers. It keeps the counters that it was asked for, because to look them up by their labels' text costs as much as
// the answer.
type requestCounts struct {
	*prometheus.CounterVec
	mu    sync.RWMutex
	known map[requestKind]prometheus.Counter // as many as there are pages and statuses
}

type requestKind struct {
	page   string
	status int
}

func (c *requestCounts) of(k requestKind) prometheus.Counter {
	c.mu.RLock()
	counter := c.known[k]
	c.mu.RUnlock()
	if counter != nil {
		return counter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[k] = c.WithLabelValues(k.page, strconv.Itoa(k.status))
	return c.known[k]
}

// WriteHeader counts the answer.
func (c *counted) WriteHeader(status int) {
	if c.page != "" && status >= http.StatusOK {
		c.requests.of(requestKind{c.page, status}).Inc()
		c.page = ""
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts an answer whose status nobody wrote.
func (c *counted) Write(p []byte) (int, error) {
	if c.page != "" {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

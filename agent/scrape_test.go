package agent

import (
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
)

func TestMetricsForPrometheus(t *testing.T) {
	failing := config.Service{
		Name: "failing",
		Depends: []config.Check{
			depends("script", map[string]any{"command": `exit 3 # "quoted"`}),
			depends("script", map[string]any{"command": "true"}), depends("script", map[string]any{"command": "true"}), // identical
		},
		Metrics: []config.Check{metric("script", 40, map[string]any{"command": "echo junk"})},
	}
	b, _ := running(t, configIn(shortDir(t), failing, webapp("true"), config.Service{Name: "empty"}))
	w := agenttest.Watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", "")
	defer w.Close()
	w.NextEvent()
	b.do(server.Socket, "POST", "/webapp/health?health=42", "")
	b.do(server.TCP, "GET", "/failing/status", "")
	b.do(server.TCP, "GET", "/nope", "")
	r := b.do(server.TCP, "GET", "/metrics", "")
	page := bodyOf(t, r)
	if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%s %v", r.Status, r.Header)
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	series := map[string]string{}
	for line := range strings.Lines(page) {
		if at := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") {
			series[line[:at]] = strings.TrimSpace(line[at:])
		}
	}
	for name, want := range map[string]string{ // "": any value
		`lb_agent_build_info{goversion="` + runtime.Version() + `",version="1.2.3"}`: "1",

		`lb_agent_health{service="webapp"}`:                "42",
		`lb_agent_measured_health{service="webapp"}`:       "85",
		`lb_agent_forced{kind="health",service="webapp"}`:  "1",
		`lb_agent_forced{kind="down",service="webapp"}`:    "0",
		`lb_agent_forced{kind="health",service="failing"}`: "0",
		`lb_agent_health{service="failing"}`:               "0",
		`lb_agent_health{service="empty"}`:                 "0",

		`lb_agent_dependency_up{check="Dependency::Script(true)",service="webapp"}`:                 "1",
		`lb_agent_dependency_up{check="Dependency::Script(exit 3 # \"quoted\")",service="failing"}`: "0",
		`lb_agent_dependency_up{check="Dependency::Script(true)",service="failing"}`:                "1",
		`lb_agent_dependency_up{check="Dependency::Script(true) #2",service="failing"}`:             "1",
		`lb_agent_metric_value{check="Metric::ConstantMetric(60)",service="webapp"}`:                "60",
		`lb_agent_metric_value{check="Metric::Script(echo junk, 40)",service="failing"}`:            "0",

		`lb_agent_check_duration_seconds{check="Dependency::Script(true)",service="webapp"}`:     "",
		`lb_agent_check_age_seconds{check="Dependency::Script(true)",service="webapp"}`:          "",
		`lb_agent_check_stale{check="Dependency::Script(true)",service="webapp"}`:                "0",
		`lb_agent_check_runs_total{check="Metric::Script(echo junk, 40)",service="failing"}`:     "1",
		`lb_agent_check_failures_total{check="Metric::Script(echo junk, 40)",service="failing"}`: "1",
		`lb_agent_check_failures_total{check="Dependency::Script(true)",service="webapp"}`:       "0",
		`lb_agent_check_timeouts_total{check="Metric::Script(echo junk, 40)",service="failing"}`: "0",

		`lb_agent_streams`: "1", `lb_agent_streams_opened_total`: "1", `lb_agent_streams_refused_total`: "0",
		`lb_agent_streams_slow_total`:  "0",
		`lb_agent_stream_events_total`: "2",

		`lb_agent_http_requests_total{code="200",page="watch"}`:  "1",
		`lb_agent_http_requests_total{code="201",page="force"}`:  "1",
		`lb_agent_http_requests_total{code="404",page="other"}`:  "1",
		`lb_agent_http_requests_total{code="503",page="status"}`: "1",

		`go_goroutines`: "", `process_open_fds`: "",
	} {
		if got, ok := series[name]; !ok || want != "" && got != want {
			t.Errorf("%s is %q (present: %v), want %q", name, got, ok, want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

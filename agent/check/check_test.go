package check

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dependency makes the configuration of a dependency from its options.
func dependency(typ string, options map[string]any) config.Check {
	return config.Check{Role: config.Dependency, Type: typ, Interval: 20 * time.Second, Timeout: 10 * time.Second,
		Options: config.NewOptions(options)}
}

// metric makes the configuration of a metric from its options.
func metric(typ string, weight int, options map[string]any) config.Check {
	return config.Check{Role: config.Metric, Type: typ, Interval: 20 * time.Second, Timeout: 10 * time.Second, Weight: weight,
		Options: config.NewOptions(options)}
}

func build(t *testing.T, c config.Check, h Host) Check {
	t.Helper()
	made, err := New(c, h)
	if err != nil {
		t.Fatalf("New(%s): %v", c.Type, err)
	}
	return made
}

// run runs a check once with its timeout, as the agent does.
func run(t *testing.T, c config.Check, h Host) Result {
	t.Helper()
	made := build(t, c, h)
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	defer cancel()
	return made.Run(ctx)
}

// want checks a result and that its detail contains the reason.
func want(t *testing.T, r Result, ok bool, reason string) {
	t.Helper()
	if r.OK != ok || !strings.Contains(r.Detail, reason) {
		t.Errorf("OK %v because %q; want %v because %q", r.OK, r.Detail, ok, reason)
	}
}

func TestDisplayNamesAreLitmusPapers(t *testing.T) {
	for _, tc := range []struct {
		want string
		c    config.Check
	}{
		{
			"Dependency::HTTP(http://localhost:3000/heartbeat?deep=1)",
			dependency("http", map[string]any{"url": "http://localhost:3000/heartbeat?deep=1"}),
		},
		{
			"Dependency::HTTP(http://user:xxxxx@127.0.0.1:9506/h)",
			dependency("http", map[string]any{"url": "http://user:pw@127.0.0.1:9506/h"}),
		},
		{"Dependency::TCP(tcp://127.0.0.1:9513)", dependency("tcp", map[string]any{"address": "127.0.0.1:9513"})},
		{"Dependency::Script(/bin/true)", dependency("script", map[string]any{"command": "/bin/true"})},
		{"Dependency::Script(/bin/test -e /x)", dependency("script", map[string]any{"argv": []string{"/bin/test", "-e", "/x"}})},
		{
			"Dependency::FileContents(/etc/hostname, /./)",
			dependency("file_contents", map[string]any{"path": "/etc/hostname", "pattern": "."}),
		},
		{`Dependency::FileContents(/x, /a\/b\/c\d/)`, dependency("file_contents", map[string]any{"path": "/x", "pattern": `a/b\/c\d`})},
		{
			"Dependency::HaproxyBackends(/run/haproxy.sock, web)",
			dependency("haproxy_backends", map[string]any{"socket": "/run/haproxy.sock", "backends": []string{"web"}}),
		},
		{
			"Metric::HaproxyBackendsHealth(50, web)",
			metric("haproxy_backends_health", 50, map[string]any{"socket": "/run/haproxy.sock", "backends": []string{"web"}}),
		},
		{"Dependency::SystemdUnit(postgresql.service)", dependency("systemd_unit", map[string]any{"unit": "postgresql.service"})},
		{"Dependency::Nagios(/usr/lib/nagios/plugins/check_swap -w 50%)",
			dependency("nagios", map[string]any{"command": "/usr/lib/nagios/plugins/check_swap -w 50%"})},
		{"Metric::Nagios(/bin/true, 30)", metric("nagios", 30, map[string]any{"command": "/bin/true"})},
		{"Metric::Script(echo 0.501, 100)", metric("script", 100, map[string]any{"command": "echo 0.501"})},
		{
			"Metric::TcpSocketUtilization(weight: 100, maxconn: 10, address: 127.0.0.1:1)",
			metric("tcp_socket_utilization", 100, map[string]any{"address": "127.0.0.1:1", "maxconn": 10}),
		},
		{
			"Metric::UnixSocketUtilization(weight: 100, maxconn: 10, path: /no/such)",
			metric("unix_socket_utilization", 100, map[string]any{"path": "/no/such", "maxconn": 10}),
		},
		{
			`Metric::InternetHealth(100, ["127.0.0.1:9501", "127.0.0.1:1", "127.0.0.1:2"], {})`,
			metric("internet_health", 100, map[string]any{"hosts": []string{"127.0.0.1:9501", "127.0.0.1:1", "127.0.0.1:2"}}),
		},
		{"Metric::Pressure(io, 40)", metric("pressure", 40, map[string]any{"resource": "io"})},
		{"Metric::Pressure(io, /app, 40)", metric("pressure", 40, map[string]any{"resource": "io", "cgroup": "/app"})},
		{
			`Metric::Prometheus(queue_length{name="a\"b",queue="deferred"}, 40)`,
			metric("prometheus", 40, map[string]any{"url": "http://h/metrics", "sample": "queue_length",
				"labels": map[string]string{"queue": "deferred", "name": `a"b`}, "best": 0, "worst": 1000}),
		},
		{"Metric::BigBrotherService(web)", metric("balancer_cluster", 100, map[string]any{"cluster": "web"})},
		{"Metric::CPULoad(50)", metric("cpu_load", 50, nil)},
		{"Metric::AvailableMemory(50)", metric("available_memory", 50, nil)},
		{"Metric::ConstantMetric(60)", metric("constant", 60, nil)},
	} {
		if got := build(t, tc.c, Host{}).Display(); got != tc.want {
			t.Errorf("Display = %q, want %q", got, tc.want)
		}
	}
}

func TestMistakesInOptionsAreAllReported(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    config.Check
		want []string
	}{
		{"unknown dependency", dependency("htpp", map[string]any{"url": "x"}),
			[]string{`is not a dependency type`, "http, ", "script, ", "tcp"}},
		{"a metric type as dependency", dependency("constant", nil), []string{`is not a dependency type`}},
		{"unknown metric", metric("load", 1, nil), []string{`is not a metric type`, "available_memory, ", "cpu_load, ", "script"}},
		{"http without url", dependency("http", nil), []string{"url", "is missing"}},
		{"http with several mistakes", dependency("http", map[string]any{
			"url": "ftp://x/", "method": "get", "content": "(", "status": 42, "headers": map[string]string{"A B": "c"}, "colour": "red",
		}), []string{"http:// or https://", "is not an HTTP method", "is not a valid regular expression", "status",
			`"A B" is not a header name`, "colour"}},
		{
			"http header injection",
			dependency("http", map[string]any{"url": "http://h/", "headers": map[string]string{"A": "b\r\nC: d"}}),
			[]string{"control character"},
		},
		{"http url without host", dependency("http", map[string]any{"url": "http:///x"}), []string{"has no host"}},
		{"content with HEAD", dependency("http", map[string]any{"url": "http://h/", "method": "HEAD", "content": "OK"}),
			[]string{"has no body"}},
		{"tcp without address", dependency("tcp", nil), []string{"address", "is missing"}},
		{"tcp without port", dependency("tcp", map[string]any{"address": "localhost"}), []string{"not a host and a port"}},
		{"tcp with port 0", dependency("tcp", map[string]any{"address": "localhost:0"}), []string{"1 to 65535"}},
		{"tcp without host", dependency("tcp", map[string]any{"address": ":80", "expect": ""}), []string{"has no host", "empty string"}},
		{"tcp with a host in Unicode", dependency("tcp", map[string]any{"address": "bücher.example:80"}), []string{"invalid character"}},
		{"tcp with a line break", dependency("tcp", map[string]any{"address": "a\nb:80"}), []string{"invalid character"}},
		{"script without command", dependency("script", nil), []string{"command", "is missing"}},
		{"script with both", dependency("script", map[string]any{"command": "true", "argv": []string{"true"}}),
			[]string{"cannot be combined with command"}},
		{"script with an empty list", dependency("script", map[string]any{"argv": []string{}}), []string{"names no program"}},
		{"unknown scale", metric("script", 5, map[string]any{"command": "echo 1", "scale": "0-1"}), []string{`"0-1" is not a scale`}},
		{"option of a type that has none", metric("cpu_load", 5, map[string]any{"cores": 4}), []string{"cores"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Validate(tc.c)
			if err == nil {
				t.Fatal("no mistake is reported")
			}
			var mistakes config.Diagnostics
			if !errors.As(err, &mistakes) {
				t.Errorf("the error is a %T, which config.Load cannot merge", err)
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in:\n%v", w, err)
				}
			}
		})
	}
}

func TestConstantContributesItsWeight(t *testing.T) {
	if r := run(t, metric("constant", 60, nil), Host{}); !r.OK || r.Value != 60 {
		t.Errorf("got %+v", r)
	}
}

func TestChecksThatOnlyReadFilesNeedNoTimeout(t *testing.T) {
	for _, tc := range []struct {
		c    config.Check
		want bool
	}{
		{dependency("file_contents", map[string]any{"path": "/x", "pattern": "y"}), true},
		{dependency("script", map[string]any{"command": "true"}), false},
		{dependency("tcp", map[string]any{"address": "127.0.0.1:1"}), false},
		{metric("constant", 1, nil), true},
		{metric("cpu_load", 1, nil), true},
		{metric("available_memory", 1, nil), true},
		{metric("pressure", 1, map[string]any{"resource": "cpu"}), true},
	} {
		if got := OnlyReads(build(t, tc.c, Host{})); got != tc.want {
			t.Errorf("%s: OnlyReads = %v, want %v", tc.c.Type, got, tc.want)
		}
	}
}

package check

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/braintree/lb/config"
)

// The tests in this file are named after faults of litmus_paper that lb must not have. The numbers are from
// the list of recorded faults.

// litmus_paper ignores the dependencies script and tcp in its YAML file and raises an error at haproxy_backends_health.
func TestFault13EveryTypeWorksFromTheConfigurationFile(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(page))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "lb.toml")
	text := `[services.web]
depends = [ { type = "script", command = "exit 0" }, { type = "tcp", address = "` + server.Listener.Addr().String() + `" } ]
metrics = [ { type = "haproxy_backends_health", socket = "/no/such", backends = ["web"], weight = 50 } ]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, Validate)
	if err != nil {
		t.Fatal(err)
	}
	service := cfg.Services[0]
	if len(service.Depends) != 2 || len(service.Metrics) != 1 {
		t.Fatalf("read %+v", service)
	}
	want(t, run(t, service.Depends[0], Host{}), true, "printed nothing")
	want(t, run(t, service.Depends[1], Host{}), true, "")
	want(t, run(t, service.Metrics[0], Host{}), false, "/no/such") // the check exists, and reports that HAProxy does not run
}

// litmus_paper drops the query, treats HEAD and 204 as failures (they have no body to match), and sends a
// silent server a second request.
func TestFault18HTTPKeepsTheQueryAcceptsHEADAnd204AndDoesNotRetry(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(page))
	defer server.Close()
	want(t, run(t, dependency("http", map[string]any{"url": server.URL + "/echo?deep=1&x=2", "content": `^GET /echo\?deep=1&x=2 `}),
		Host{}), true, "200")
	want(t, run(t, dependency("http", map[string]any{"url": server.URL + "/ok", "method": "HEAD"}), Host{}), true, "200")
	want(t, run(t, dependency("http", map[string]any{"url": server.URL + "/204"}), Host{}), true, "204")

	address, accepted := silent(t)
	c := dependency("http", map[string]any{"url": "http://" + address + "/"})
	c.Timeout = time.Second // on a busy machine the connection alone can take 50 ms
	want(t, run(t, c, Host{}), false, "timed out after 1s")
	if n := accepted(); n != 1 {
		t.Errorf("a silent server gets %d requests", n)
	}
}

// litmus_paper also retries if the server closes the connection without a response.
func TestFault18ARequestThatGetsNoResponseIsNotRetried(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	}))
	r := run(t, dependency("http", map[string]any{"url": server.URL}), Host{})
	server.Close() // waits for the handler
	want(t, r, false, io.EOF.Error())
	if requests != 1 {
		t.Errorf("%d requests, want 1", requests)
	}
}

// litmus_paper counts the output of a script that then failed, and a missing command breaks the whole page.
func TestFault19AFailedScriptMetricContributesNothing(t *testing.T) {
	for name, command := range map[string]string{
		"fails after printing": "echo 30; exit 3", "prints junk": "echo junk", "is missing": "/no/such/cmd",
		"is killed": "echo 30; kill -9 $$",
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, metric("script", 50, map[string]any{"command": command}), Host{})
			if r.OK || r.Value != 0 || r.Detail == "" {
				t.Errorf("OK %v, %v points because %q", r.OK, r.Value, r.Detail)
			}
		})
	}
	r := run(t, metric("script", 50, map[string]any{"argv": []string{"/no/such/cmd"}}), Host{})
	if r.OK || r.Value != 0 {
		t.Errorf("OK %v, %v points because %q", r.OK, r.Value, r.Detail)
	}
}

// litmus_paper gives a queue metric its full weight if nothing listens, because the queue of a dead server is empty.
func TestFault20AQueueWithoutAListenerContributesNothing(t *testing.T) {
	for typ, where := range map[string]map[string]any{
		"tcp_socket_utilization":  {"address": "127.0.0.1:1", "maxconn": 10},
		"unix_socket_utilization": {"path": filepath.Join(t.TempDir(), "gone.sock"), "maxconn": 10},
	} {
		c := build(t, metric(typ, 100, where), Host{})
		r := c.Run(t.Context())
		if r.Value != 0 || c.Floor() != 0 {
			t.Errorf("%s: %v points, at least %d, because %q", typ, r.Value, c.Floor(), r.Detail)
		}
	}
}

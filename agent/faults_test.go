package agent

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
)

// The tests in this file are named after faults of litmus_paper that lb must not have. The numbers are from
// the list of recorded faults. Packages check, agentcheck and ctl have the tests of faults in checks, in the
// agent-check and on the command line.

// expect gets a page over TCP and compares its status and X-Health.
func expect(t *testing.T, b *bench, target string, status int, health string) string {
	t.Helper()
	r := b.do(server.TCP, "GET", target, "")
	body := bodyOf(t, r)
	if r.StatusCode != status || r.Header.Get("X-Health") != health {
		t.Errorf("GET %s: %d, X-Health %q; want %d, %q: %s", target, r.StatusCode, r.Header.Get("X-Health"), status, health, body)
	}
	return body
}

// In litmus_paper one such service makes GET / fail for all.
func TestFault13ServicesWithEveryCheckAreAnswered(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "lb.toml")
	text := `[agent]
listen = "127.0.0.1:0"
control = "` + dir + `/agent.sock"
data_dir = "` + dir + `/data"
[services.script]
depends = [ { type = "script", command = "exit 0" } ]
[services.tcp]
depends = [ { type = "tcp", address = "127.0.0.1:1" } ]
[services.haproxy]
metrics = [ { type = "haproxy_backends_health", socket = "/no/such", backends = ["web"], weight = 50 }, { type = "constant", weight = 7 } ]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, check.Validate)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, cfg)
	expect(t, b, "/", 200, "")
	expect(t, b, "/script/status", 200, "100")
	expect(t, b, "/tcp/status", 503, "0")
	expect(t, b, "/haproxy/status", 200, "7")
}

// litmus_paper forces to 0 if the number is missing: it takes the number for the service.
func TestFault14AnInvalidHealthForcesNothing(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	for _, form := range []string{"", "reason=x", "health=", "health=webapp", "health=-5", "health=101", "health=4.5", "health=0x10",
		"health=1e1"} {
		for _, target := range []string{"/health", "/webapp/health"} {
			if r := b.do(server.Socket, "POST", target, form); r.StatusCode != 400 ||
				!strings.Contains(bodyOf(t, r), "whole number from 0 to 100") {
				t.Errorf("POST %s with %q: %d", target, form, r.StatusCode)
			}
		}
	}
	expect(t, b, "/webapp/status", 200, "85")
	if len(b.changes.Store.All()) != 0 {
		t.Errorf("stored %v", b.changes.Store.All())
	}
}

// litmus_paper writes a file for an unknown service, which forces the service as soon as it exists; /../down
// forces all services.
func TestFault17NothingIsWrittenForAnUnknownService(t *testing.T) {
	dir := shortDir(t)
	b := newBench(t, configIn(dir, webapp("true")))
	before := tree(t, dir, "")
	for _, target := range []string{"/nope/down", "/%2e%2e/down", "/../down", "/..%2fdown", "/..%2f..%2fescape/down", "/global/down",
		"//down", "/./down", "/webapp%00/down", "/%20/down", "/WEBAPP/down"} {
		if r := b.do(server.Socket, "POST", target, "reason=x"); r.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %d %s", target, r.StatusCode, bodyOf(t, r))
		}
	}
	if after := tree(t, dir, ""); after != before {
		t.Errorf("files changed:\n%s\nbefore:\n%s", after, before)
	}
	expect(t, b, "/webapp/status", 200, "85")
}

// litmus_paper counts the output of a failed script, and answers 500 for the service and for GET / if a
// script is missing.
func TestFault19AFailedScriptMetricContributesNothing(t *testing.T) {
	b := newBench(t, configIn(shortDir(t),
		config.Service{Name: "fails", Metrics: []config.Check{metric("script", 50, map[string]any{"command": "echo 30; exit 3"}),
			constant(7)}},
		config.Service{Name: "missing", Metrics: []config.Check{
			metric("script", 50, map[string]any{"argv": []string{"/no/such/cmd"}}), constant(7),
		}},
	))
	expect(t, b, "/", 200, "")
	for _, name := range []string{"fails", "missing"} {
		if body := expect(t, b, "/"+name+"/status", 200, "7"); !strings.Contains(body, ", 50): 0\n") {
			t.Errorf("%s: %q", name, body)
		}
		expect(t, b, "/"+name+"/metrics", 200, "")
	}
}

// In litmus_paper a reason that is not UTF-8 makes GET / a 500 until the force ends.
func TestFault21AnInvalidReasonBreaksNothing(t *testing.T) {
	dir := shortDir(t)
	b := newBench(t, configIn(dir, webapp("true")))
	for _, change := range [][2]string{{"/webapp/down", "reason=%ffbad"}, {"/webapp/health", "reason=%c3%28%ff&health=42"},
		{"/up", "reason=%fe&who=%ff"}} {
		if r := b.do(server.Socket, "POST", change[0], change[1]); r.StatusCode != 201 {
			t.Errorf("POST %s: %d", change[0], r.StatusCode)
		}
		for _, target := range []string{"/", "/webapp/status", "/webapp/metrics"} {
			for _, accept := range []string{"*/*", "application/json"} {
				r := b.do(server.TCP, "GET", target, "", "Accept", accept)
				if body := bodyOf(t, r); r.StatusCode == 500 || !utf8.ValidString(body) {
					t.Errorf("after POST %s, GET %s: %d %q", change[0], target, r.StatusCode, body)
				}
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "data", audit.FileName))
	if err != nil || !utf8.Valid(data) {
		t.Errorf("audit log: %q, %v", data, err)
	}
}

// In litmus_paper a cached answer hides the start and the end of a force for cache_ttl.
func TestFault22AForceAppliesToTheNextAnswer(t *testing.T) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	reads := &http.Client{Transport: &http.Transport{}} // a single connection
	defer reads.CloseIdleConnections()
	status := func() string {
		t.Helper()
		r, err := reads.Get("http://" + b.Addr().String() + "/webapp/status")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Fatal(err)
		}
		return r.Header.Get("X-Health") + r.Header.Get("X-Health-Forced")
	}
	for range 20 {
		b.do(server.Socket, "POST", "/webapp/down", "reason=now")
		forced := status()
		b.do(server.Socket, "DELETE", "/webapp/down", "")
		if after := status(); forced != "0down" || after != "85" {
			t.Fatalf("forced: %q, then %q", forced, after)
		}
	}
}

// litmus_paper does not limit the sum of the metrics or the value of a force.
func TestFault22HealthIs0To100(t *testing.T) {
	script := func(out string) config.Check {
		return metric("script", 100, map[string]any{"command": "echo " + out})
	}
	b := newBench(t, configIn(shortDir(t),
		config.Service{Name: "over", Metrics: []config.Check{constant(100), constant(50)}},
		config.Service{Name: "negative", Metrics: []config.Check{script("-50"), constant(7)}},
		config.Service{Name: "much", Metrics: []config.Check{script("100"), script("100"), script("100")}},
	))
	expect(t, b, "/over/status", 200, "100")
	expect(t, b, "/negative/status", 200, "7")
	expect(t, b, "/much/status", 200, "100")
	b.do(server.Socket, "POST", "/health", "health=100&reason=x")
	expect(t, b, "/over/status", 200, "100")
	for _, v := range []string{"/over/status", "/negative/status", "/much/status"} {
		now := time.Now()
		name := strings.Split(v, "/")[1]
		if h := b.services.View(b.services.Current().ByName[name], now); h.Health < 0 || h.Health > 100 || h.Measured < 0 ||
			h.Measured > 100 {
			t.Errorf("%s: health %d, measured %d", name, h.Health, h.Measured)
		}
	}
}

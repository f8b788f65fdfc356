package agent

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/golden"
)

// transcript formats a request and its answer like the recorded transcripts of litmus_paper.
func transcript(t *testing.T, b *bench, method, target, body string) string {
	t.Helper()
	r := b.do(server.Socket, method, target, body)
	var s strings.Builder
	fmt.Fprintf(&s, "> %s %s\n", method, target)
	if body != "" {
		fmt.Fprintf(&s, "> %s\n", body)
	}
	fmt.Fprintf(&s, "< %d %s\n", r.StatusCode, http.StatusText(r.StatusCode))
	for _, name := range []string{"Content-Type", "X-Health", "X-Health-Forced", "Content-Length"} {
		if v := r.Header.Get(name); v != "" {
			fmt.Fprintf(&s, "< %s: %s\n", name, v)
		}
	}
	for line := range strings.Lines(bodyOf(t, r)) {
		quoted := fmt.Sprintf("%q", line)
		fmt.Fprintf(&s, "| %s\n", quoted[1:len(quoted)-1])
	}
	return s.String() + "\n"
}

// transcribed has the services of the recorded transcripts whose checks lb has.
func transcribed(dependency string) []config.Service {
	return []config.Service{
		{Name: "a-much-longer-service.name", Depends: []config.Check{
			depends("script", map[string]any{"command": "/bin/true"}), depends("script", map[string]any{"command": "/bin/false"}),
		}, Metrics: []config.Check{metric("script", 100, map[string]any{"command": "echo 0.501", "scale": "fraction"})}},
		{Name: "dependencies", Depends: []config.Check{depends("script", map[string]any{"command": "/bin/true"})}},
		{Name: "empty"},
		{Name: "over", Metrics: []config.Check{constant(100), constant(50)}},
		webapp(dependency),
		{Name: "zero", Metrics: []config.Check{constant(0)}},
	}
}

func TestTheWireFormatIsCompatibleWithLitmusPaper(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), transcribed("/bin/true")...))
	failing := newBench(t, configIn(shortDir(t), transcribed("/bin/false")...))
	var s strings.Builder
	section := func(name string) { s.WriteString("#### " + name + "\n") }
	send := func(b *bench, method, target string, body ...string) {
		t.Helper()
		s.WriteString(transcript(t, b, method, target, strings.Join(body, "")))
	}
	section("nothing forced")
	send(b, "GET", "/")
	for _, name := range []string{"webapp", "zero", "empty", "over", "dependencies", "a-much-longer-service.name", "nope"} {
		send(b, "GET", "/"+name+"/status")
	}
	send(b, "HEAD", "/webapp/status")
	send(b, "GET", "//webapp/status?x=1")
	section("dependency failing")
	send(failing, "GET", "/webapp/status")
	section("forced down with a reason, and ended")
	send(b, "POST", "/webapp/down", "reason=for+testing")
	send(b, "GET", "/webapp/status")
	send(b, "GET", "/")
	send(b, "DELETE", "/webapp/down")
	send(b, "DELETE", "/webapp/down")
	section("forced up with a failing dependency")
	send(failing, "POST", "/webapp/up", "reason=up+reason")
	send(failing, "GET", "/webapp/status")
	send(failing, "DELETE", "/webapp/up")
	section("forced health")
	send(b, "POST", "/webapp/health", "reason=capacity&health=42")
	send(b, "GET", "/webapp/status")
	send(b, "GET", "/")
	send(b, "POST", "/webapp/health?reason=from+query&health=95")
	send(b, "GET", "/webapp/status")
	send(b, "POST", "/webapp/health", "health=42")
	send(b, "GET", "/webapp/status")
	send(b, "POST", "/webapp/health", "reason=zero&health=0")
	send(b, "GET", "/webapp/status")
	send(b, "POST", "/webapp/health", "reason=line1%0Aline2&health=42")
	send(b, "GET", "/webapp/status")
	send(b, "DELETE", "/webapp/health")
	send(failing, "POST", "/webapp/health", "reason=capacity&health=42")
	send(failing, "GET", "/webapp/status")
	section("forced down without a reason")
	send(b, "POST", "/webapp/down")
	send(b, "GET", "/webapp/status")
	send(b, "DELETE", "/webapp/down")
	section("all services")
	send(b, "POST", "/down", "reason=all+down")
	send(b, "GET", "/webapp/status")
	send(b, "DELETE", "/down")
	send(b, "DELETE", "/down")
	section("refused by lb, harmful in litmus_paper")
	send(b, "POST", "/nope/down", "reason=x")
	send(b, "POST", "/%2e%2e/down", "reason=x")
	send(b, "POST", "/..%2f..%2fescape/down", "reason=x")
	send(b, "POST", "//down", "reason=x")
	for _, n := range []string{"", "abc", "-5", "41.9", "101", "1e1", "webapp"} {
		send(b, "POST", "/webapp/health", "reason=r&health="+n)
	}
	send(b, "PUT", "/webapp/down")
	golden.Compare(t, "testdata/wire.txt", s.String())
}

func TestPrecedenceOfForces(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	do := func(method, target, body string) {
		t.Helper()
		if r := b.do(server.Socket, method, target, body); r.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, target, r.StatusCode, bodyOf(t, r))
		}
	}
	expect := func(when, health, forced, reason string) {
		t.Helper()
		r := b.do(server.TCP, "GET", "/webapp/status", "")
		if got := r.Header.Get("X-Health"); got != health || r.Header.Get("X-Health-Forced") != forced ||
			!strings.Contains(bodyOf(t, r), "Forced Reason: "+reason+"\n") {
			t.Errorf("%s: X-Health %s, forced %s; want %s, %s because %q", when, got, r.Header.Get("X-Health-Forced"), health, forced,
				reason)
		}
	}
	do("POST", "/webapp/health", "reason=sh&health=12")
	expect("service health", "12", "health", "sh 12")
	do("POST", "/webapp/up", "reason=sup")
	expect("service up beats service health", "100", "up", "sup")
	do("POST", "/webapp/down", "reason=sd")
	expect("service down beats service up", "0", "down", "sd")
	do("POST", "/health", "reason=ghealth&health=33")
	expect("global health beats service down", "33", "health", "ghealth 33")
	do("POST", "/up", "reason=gup")
	expect("global up beats global health", "100", "up", "gup")
	do("POST", "/down", "reason=gdown")
	expect("global down beats all", "0", "down", "gdown")
}

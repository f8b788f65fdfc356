package agent

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/server"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/config"
)

// dateHeader differs between two responses.
var dateHeader = regexp.MustCompile(`\r\nDate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n`)

// rawResponse sends a request and returns the response without its date.
func rawResponse(t *testing.T, b *bench, request string) string {
	t.Helper()
	c := dial(t, b)
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	response, err := io.ReadAll(c)
	if err != nil || !dateHeader.Match(response) {
		t.Fatalf("%q: %v", response, err)
	}
	return dateHeader.ReplaceAllString(string(response), "\r\n")
}

func TestTheFastPathAnswersLikeNetHTTP(t *testing.T) {
	dir := shortDir(t)
	services := append(transcribed("/bin/true"), config.Service{Name: "with space", Metrics: []config.Check{constant(7)}},
		config.Service{Name: "a.b-c_d~E", Metrics: []config.Check{constant(7)}})
	b, _ := running(t, configIn(dir, services...))
	same := func(path string, onFastPath bool) {
		t.Helper()
		for _, request := range []string{
			"GET " + path + " HTTP/1.1\r\nHost: app01\r\nConnection: close\r\n",
			"GET " + path + " HTTP/1.0\r\nUser-Agent: x\r\n",
		} {
			before := b.answered(t)
			fast := rawResponse(t, b, request+"\r\n")
			if got := b.answered(t) - before; got != 1 {
				t.Errorf("%s: %d answers were counted", path, got)
			}
			slow := rawResponse(t, b, request+"X-Unknown: this is for net/http\r\n\r\n")
			if diff := cmp.Diff(slow, fast); diff != "" {
				t.Errorf("%q (-net/http +fast path):\n%s", request, diff)
			}
		}
		if got := b.server.FindPage([]byte(path), time.Now()) != nil; got != onFastPath {
			t.Errorf("%s is on the fast path: %v", path, got)
		}
	}
	for _, path := range []string{"/webapp/status", "/zero/status", "/empty/status", "/dependencies/status", "/a.b-c_d~E/status"} {
		same(path, true)
	}
	for _, path := range []string{"/nope/status", "/with%20space/status", "//webapp/status", "/webapp/status/", "/status", "/",
		"/webapp", "/webapp/metrics"} {
		same(path, false)
	}
	for _, f := range []string{"down?reason=upgrade", "up?reason=%c3%a9", "health?reason=ceiling&health=42&for=2h"} {
		if r := b.do(server.Socket, "POST", "/webapp/"+f, ""); r.StatusCode != 201 {
			t.Fatal(r.Status, bodyOf(t, r))
		}
		same("/webapp/status", true)
		same("/zero/status", true)
	}
}

// answered reads the number of counted answers, without those of GET /metrics.
func (b *bench) answered(t *testing.T) int {
	t.Helper()
	n := 0
	metrics := bodyOf(t, b.do(server.TCP, "GET", "/metrics", ""))
	counter := regexp.MustCompile(`(?m)^lb_agent_http_requests_total\{code="[0-9]+",page="(.*)"\} ([0-9]+)$`)
	for _, found := range counter.FindAllStringSubmatch(metrics, -1) {
		if count, err := strconv.Atoi(found[2]); found[1] != "metrics" && err == nil {
			n += count
		}
	}
	return n
}

// Programs read the figures in litmus_paper's line. The name of the check in logs and metrics must not have
// them, because each change would start a new series.
func TestTheStatusPageShowsTheCurrentFiguresOfASocket(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "web.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, _ := running(t, configIn(dir, config.Service{Name: "web", Metrics: []config.Check{
		metric("unix_socket_utilization", 90, map[string]any{"path": path, "maxconn": 10}),
	}}))
	const name, figures = "Metric::UnixSocketUtilization(weight: 90, maxconn: 10, ", "active: %d, queued: %d, utilization: %d, "
	for queued := range 3 {
		b.services.Current().ByName["web"].Metrics[0].RunOnce(t.Context(), b.Agent.log)
		want := name + fmt.Sprintf(figures, 0, queued, 10*queued) + "path: " + path + "): "
		if page := bodyOf(t, b.do(server.TCP, "GET", "/web/status", "")); !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
	}
	page, label := bodyOf(t, b.do(server.TCP, "GET", "/metrics", "")), `check="`+name+"path: "+path+`)"`
	if !strings.Contains(page, label) {
		t.Errorf("no series has %s", label)
	}
}

//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// events returns the output of lb ctl events, oldest first.
func events(t *testing.T, s *testbed.Site, args ...string) []event.Event {
	t.Helper()
	out := runLB(t, s, s.BalancerHost, append([]string{"ctl", "events", "--json"}, args...)...)
	var all []event.Event
	for line := range strings.Lines(out) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, e)
	}
	return all
}

// TestEventsReachHooksAndMetrics forces a node down and up. It compares the events that hooks received with those of lb ctl events, and the
// metrics with what the kernel does.
func TestEventsReachHooksAndMetrics(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	var hook webhook
	l, err := s.Client.Listen(t.Context(), "tcp", "204.109.13.100:8080")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &hook, ReadHeaderTimeout: timeout}
	go func() { _ = server.Serve(l) }() // returns when closed
	t.Cleanup(func() { _ = server.Close() })
	text := labtest.Run(t, s.BalancerHost, "cat", "/run/lb.toml") + `
[hooks.journal]
type   = "exec"
argv   = ["sh", "-c", 'echo "$LB_NUMBER $LB_NODE $LB_OLD $LB_NEW $LB_CAUSE" >>/run/events']
events = ["weight"]
timeout = "50s"

[hooks.chat]
type    = "webhook"
url     = "http://204.109.13.100:8080/lb"
headers = { "X-Key" = "secret" }
events  = ["weight"]
timeout = "50s"
`
	if err := s.WriteConfig([]byte(text)); err != nil {
		t.Fatal(err)
	}
	runLB(t, s, s.BalancerHost, "ctl", "reload")

	const reason = `apt "upgrades" $(reboot)`
	runLB(t, s, s.Apps[1].Host, "ctl", "force", "down", "webapp", "-r", reason)
	labtest.Eventually(t, timeout, "app02 is out", func() (bool, string) { return readWeights(t, s)["10.0.0.2"] == 0, "" })
	runLB(t, s, s.Apps[1].Host, "ctl", "force", "down", "webapp", "-d")
	waitForWeight(t, s, 100)

	var want []string
	for _, e := range events(t, s) {
		if e.Kind == event.Weight {
			want = append(want, fmt.Sprintf("%d %s %s %s %s", e.Number, e.Node, e.Old, e.New, e.Cause))
		}
	}
	if len(want) != 2 || !strings.Contains(want[0], "10.0.0.2 100 0 ") || !strings.Contains(want[0], reason) ||
		!strings.Contains(want[1], "10.0.0.2 0 100 ") {
		t.Fatalf("lb ctl events shows the weight changes %q", want)
	}
	labtest.Eventually(t, timeout, "both hooks received the events in order", func() (bool, string) {
		out, err := s.BalancerHost.Run(t.Context(), "cat", "/run/events")
		if err != nil {
			return false, err.Error()
		}
		journal, chat := strings.Split(strings.TrimSpace(out), "\n"), hook.receivedEvents()
		return slices.Equal(journal, want) && slices.Equal(chat, want),
			fmt.Sprintf("events: %q\nexec:   %q\nposted: %q", want, journal, chat)
	})

	if counts := s.SendRequests(t.Context(), 30, 3); counts.Failed != 0 {
		t.Fatal(counts.LastError)
	}
	labtest.Eventually(t, timeout, "the metrics count the kernel's 30 connections", func() (bool, string) {
		page := labtest.Run(t, s.BalancerHost, "curl", "-sS", "http://127.0.0.1:9292/metrics")
		tool := exec.Command("promtool", "check", "metrics")
		tool.Stdin = strings.NewReader(page)
		if out, err := tool.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("promtool: %v\n%s", err, out)
		}
		connections := 0
		for line := range strings.Lines(page) {
			var n int
			if strings.HasPrefix(line, "lb_balancer_node_connections_total{") {
				if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &n); err != nil {
					t.Fatalf("%v in %q", err, line)
				}
			}
			connections += n
		}
		return connections == 30, page
	})
}

// webhook records the events posted to it.
type webhook struct {
	mu         sync.Mutex // protects the fields below
	failedOnce bool
	received   []string
}

// ServeHTTP rejects the first event and accepts all others.
func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var e event.Event
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.Method != http.MethodPost || r.Header.Get("X-Key") != "secret" {
		h.received = append(h.received, fmt.Sprint(r.Method, r.Header, err))
		return
	}
	if !h.failedOnce {
		h.failedOnce = true // the hook must retry
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	h.received = append(h.received, fmt.Sprintf("%d %s %s %s %s", e.Number, e.Node, e.Old, e.New, e.Cause))
}

func (h *webhook) receivedEvents() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.received)
}

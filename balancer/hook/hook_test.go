package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/config"
)

// syncBuffer is a buffer for concurrent use.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// deliverAll adds the events while the hooks run, stops them, and returns the first hook's counts and the log.
func deliverAll(t *testing.T, events []event.Event, hooks ...config.Hook) (journal.Deliveries, string) {
	t.Helper()
	out := &syncBuffer{}
	log := journal.Open("", slog.New(slog.DiscardHandler))
	log.Add(event.Event{Kind: event.Weight, Cluster: "web", Cause: "before the hooks"})
	s := NewSet(log, slog.New(slog.NewTextHandler(out, nil)))
	s.Configure(hooks)
	w := s.hooks[hooks[0].Name]
	for _, e := range events {
		log.Add(e)
	}
	s.Stop()
	return journal.Deliveries{Delivered: w.delivered.Load(), Failed: w.failed.Load(), Lost: w.lost.Load()}, out.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func node(kind event.Kind, cluster string, up, all int) event.Event {
	return event.Event{Kind: kind, Cluster: cluster, Node: "10.0.0.1", Nodes: &event.Tally{Running: true, Up: up, All: all}}
}

func TestProgramGetsEventsInOrderAsData(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	script := write(t, "hook.sh", `#!/bin/sh
read -r json
echo "$LB_NUMBER $LB_EVENT $LB_CLUSTER $LB_NODE $LB_CAUSE $# $1 ${json%%,*}" >>`+out+"\n")
	const evil = "$(touch /tmp/x); `id` \"'"
	counts, log := deliverAll(t, []event.Event{
		{Kind: event.NodeDown, Cluster: "web", Node: "10.0.0.1", Cause: evil},
		{Kind: event.Weight, Cluster: "web"},
		{Kind: event.NodeUp, Cluster: "db"},
		{Kind: event.NodeUp, Cluster: "web", Node: "10.0.0.2"},
	}, config.Hook{Name: "page", Type: config.Exec, Argv: []string{script, "--x"}, Events: []event.Kind{event.NodeDown, event.NodeUp},
		Clusters: []string{"web"}, Timeout: 10 * time.Second})
	got, err := os.ReadFile(out)
	want := "2 node_down web 10.0.0.1 " + evil + ` 1 --x {"number":2` + "\n" + `5 node_up web 10.0.0.2  1 --x {"number":5` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("the program received\n%s%v\nwant\n%s\nlog: %s", got, err, want, log)
	}
	if counts != (journal.Deliveries{Delivered: 2}) {
		t.Errorf("%+v", counts)
	}
}

func TestFailingAndHangingProgramsAreLogged(t *testing.T) {
	script := write(t, "hook.sh", "#!/bin/sh\n[ $LB_EVENT = node_up ] && exit 0\n"+
		"[ $LB_EVENT = weight ] && sleep 60\necho broken >&2; exit 3\n")
	start := time.Now()
	counts, log := deliverAll(t, []event.Event{{Kind: event.NodeDown}, {Kind: event.Weight}, {Kind: event.NodeUp}},
		config.Hook{Name: "page", Type: config.Exec, Argv: []string{script}, Timeout: time.Second})
	if counts != (journal.Deliveries{Delivered: 1, Failed: 2}) || time.Since(start) > 20*time.Second {
		t.Errorf("%+v after %s", counts, time.Since(start))
	}
	for _, want := range []string{"exit status 3", "broken", "not finished within its timeout of 1s", "hook=page"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestWebhookRetriesServerErrors(t *testing.T) {
	var mu sync.Mutex
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e event.Event
		if json.Unmarshal(body, &e) != nil || r.Method != "POST" || r.Header.Get("X-Key") != "k" {
			t.Errorf("%s %v %s", r.Method, r.Header, body)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("%d %s", e.Number, e.Kind))
		switch {
		case e.Kind == event.NodeDown && len(got) == 1:
			w.WriteHeader(503)
		case e.Kind == event.Weight:
			w.WriteHeader(400)
			fmt.Fprint(w, "no such room")
		}
	}))
	defer s.Close()
	counts, log := deliverAll(t, []event.Event{{Kind: event.NodeDown}, {Kind: event.Weight}, {Kind: event.NodeUp}},
		config.Hook{Name: "chat", Type: config.Webhook, URL: s.URL, Headers: map[string]string{"X-Key": "k"}, Timeout: 5 * time.Second})
	const want = "2 node_down,2 node_down,3 weight,4 node_up"
	if strings.Join(got, ",") != want || counts != (journal.Deliveries{Delivered: 2, Failed: 1}) {
		t.Errorf("got %v, %+v; want %s", got, counts, want)
	}
	if !strings.Contains(log, "no such room") {
		t.Errorf("log: %s", log)
	}
}

func TestNagiosThresholds(t *testing.T) {
	for _, tt := range []struct {
		up, all int
		want    string
	}{
		{3, 3, "0 OK all nodes up"}, {2, 3, "1 WARNING a node is down"}, {1, 3, "2 CRITICAL 50% of nodes are down"},
		{0, 3, "2 CRITICAL 50% of nodes are down"}, {1, 2, "2 CRITICAL 50% of nodes are down"}, {1, 1, "0 OK all nodes up"},
		{3, 4, "1 WARNING a node is down"}, {2, 4, "2 CRITICAL 50% of nodes are down"},
	} {
		if r := resultOf(event.Tally{Up: tt.up, All: tt.all}); fmt.Sprintf("%d %s", r.code, r.text) != tt.want {
			t.Errorf("%d of %d up: %+v, want %s", tt.up, tt.all, r, tt.want)
		}
	}
}

// In big_brother send_nsca never ran (fault 12).
func TestNagiosResultsAreSent(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	nscaProgram := write(t, "send_nsca", "#!/bin/sh\nread -r line\necho \"$* $line\" >>"+out+"\n")
	n := &nsca{last: map[string]result{}, cfg: config.Hook{
		Host: "load01", Service: "{cluster}_status", Argv: []string{nscaProgram, "-H", "nagios"}, Timeout: 10 * time.Second,
	}}
	w := &worker{cfg: n.cfg, log: slog.New(slog.DiscardHandler), maxTries: 1}
	stopped := node(event.ClusterStopped, "web", 0, 3)
	idle := node(event.NodeDown, "idle", 0, 1)
	idle.Nodes.Running = false
	for _, batch := range [][]event.Event{
		{node(event.ClusterStarted, "web", 3, 3)},
		{node(event.NodeRamping, "web", 3, 3), idle},                                                      // no change
		{node(event.NodeDown, "web", 2, 3)},                                                               // a warning
		{node(event.NodeDown, "web", 1, 3), node(event.NodeUp, "web", 3, 3)},                              // only the last of those pending
		{{Kind: event.ConfigReloaded}},                                                                    // sent again
		{stopped, {Kind: event.ConfigReloaded}, node(event.ClusterStarted, "b", 0, 1)},                    // not for a stopped cluster
		{{Kind: event.ClusterRenamed, Cluster: "c", Old: "b", New: "c"}, {Kind: event.ConfigReloaded}},    // under the new name only
		{node(event.NodeDown, "d", 0, 1), {Kind: event.ClusterRenamed, Cluster: "e", Old: "d", New: "e"}}, // also if pending
		{node(event.NodeUp, "e", 1, 1), node(event.ClusterStopped, "e", 1, 1)},                            // a pending one is dropped
	} {
		n.send(t.Context(), batch, w.deliver)
	}
	got, err := os.ReadFile(out)
	want := "-H nagios load01\tweb_status\t0\tOK all nodes up\n-H nagios load01\tweb_status\t1\tWARNING a node is down\n" +
		"-H nagios load01\tweb_status\t0\tOK all nodes up\n-H nagios load01\tweb_status\t0\tOK all nodes up\n" +
		"-H nagios load01\tb_status\t2\tCRITICAL 50% of nodes are down\n-H nagios load01\tc_status\t2\tCRITICAL 50% of nodes are down\n" +
		"-H nagios load01\te_status\t2\tCRITICAL 50% of nodes are down\n"
	if err != nil || string(got) != want {
		t.Errorf("sent\n%s%v\nwant\n%s", got, err, want)
	}
}

// Failures are retried as documented, and no program runs twice.
func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		kind  config.HookType
		tries int
		takes time.Duration
	}{{config.Webhook, 5, 15 * time.Second}, {config.NSCA, 5, 15 * time.Second}, {config.Exec, 1, 0}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorker(config.Hook{Type: tt.kind, Timeout: time.Second}, slog.New(slog.DiscardHandler))
			start, tries := time.Now(), 0
			if w.deliver(t.Context(), 1, func(context.Context) error { tries++; return errors.New("no route to host") }) {
				t.Errorf("%s: delivered", tt.kind)
			}
			if took := time.Since(start); tries != tt.tries || took != tt.takes {
				t.Errorf("%s: %d tries in %s, want %d in %s", tt.kind, tries, took, tt.tries, tt.takes)
			}
		})
	}
}

func TestBackoffEndsWithTheHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(config.Hook{Type: config.Webhook, Timeout: time.Second}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), firstBackoff/2)
		defer cancel()
		tries := 0
		if w.deliver(ctx, 1, func(context.Context) error { tries++; return errors.New("no route to host") }) || tries != 1 ||
			w.failed.Load() != 1 {
			t.Errorf("%d tries, %d failed; want one of each", tries, w.failed.Load())
		}
	})
}

func TestWhichStatusesAreRetried(t *testing.T) {
	status := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/")
		w.WriteHeader(status)
	}))
	defer server.Close()
	webhook := newWebhook(config.Hook{URL: server.URL})
	for code, want := range map[int]string{
		200: "done", 204: "done", 302: "permanent", 400: "permanent", 404: "permanent", 499: "permanent", 408: "retry", 425: "retry",
		429: "retry", 500: "retry", 503: "retry",
	} {
		status = code
		got, err := "retry", webhook.post(t.Context(), event.Event{})
		switch {
		case err == nil:
			got = "done"
		case errors.Is(err, errPermanent):
			got = "permanent"
		}
		if got != want {
			t.Errorf("status %d is %s (%v), want %s", code, got, err, want)
		}
	}
}

func TestSubscription(t *testing.T) {
	w := &worker{cfg: config.Hook{Events: []event.Kind{event.NodeDown, event.ConfigReloaded}, Clusters: []string{"web"}}}
	for _, tt := range []struct {
		kind    event.Kind
		cluster string
		want    bool
	}{
		{event.NodeDown, "web", true}, {event.NodeUp, "web", false}, {event.NodeDown, "db", false}, {event.ConfigReloaded, "", true},
		{event.BalancerStopped, "", false},
	} {
		if got := w.subscribed(event.Event{Kind: tt.kind, Cluster: tt.cluster}); got != tt.want {
			t.Errorf("%s of cluster %q: subscribed is %t", tt.kind, tt.cluster, got)
		}
	}
}

// A hook that cannot keep up loses the oldest events.
func TestLostEventsAreCounted(t *testing.T) {
	events := journal.Open("", slog.New(slog.DiscardHandler))
	const inMemory, lost = 4096, 904
	for range inMemory + lost {
		events.Add(event.Event{Kind: event.Weight})
	}
	w := newWorker(config.Hook{Type: config.NSCA}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.run(ctx, events, 0)
	if got := w.lost.Load(); got != lost {
		t.Errorf("%d events lost, want %d", got, lost)
	}
}

// hangingSender hangs in every delivery.
type hangingSender struct{}

func (hangingSender) send(ctx context.Context, events []event.Event, deliver deliverFunc) {
	for range events {
		deliver(ctx, 1, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	}
}

func TestStoppedHookHasAFewSecondsForPendingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, events := &syncBuffer{}, journal.Open("", slog.New(slog.DiscardHandler))
		for range 4 {
			events.Add(event.Event{Kind: event.Weight})
		}
		w := newWorker(config.Hook{Timeout: time.Hour}, slog.New(slog.NewTextHandler(out, nil)))
		w.sender = hangingSender{}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		w.run(ctx, events, 0)
		if took := time.Since(start); took != shutdownTime || w.failed.Load() != 1 || w.lost.Load() != 3 {
			t.Errorf("it took %s, %d events failed and %d were lost; want %s, 1 and 3", took, w.failed.Load(), w.lost.Load(), shutdownTime)
		}
		if lines := strings.Count(out.String(), "\n"); lines != 2 || !strings.Contains(out.String(), "lost=3") {
			t.Errorf("log:\n%swant one line for the failure and one for the other events", out)
		}
	})
}

// countingSender counts events.
type countingSender struct{ events int }

func (c *countingSender) send(_ context.Context, events []event.Event, _ deliverFunc) {
	c.events += len(events)
}

// The balancer's stop is the last event, right before the hooks are stopped.
func TestLastEventIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, count := journal.Open("", slog.New(slog.DiscardHandler)), &countingSender{}
		w := newWorker(config.Hook{Timeout: time.Hour}, slog.New(slog.DiscardHandler))
		w.sender = count
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.run(ctx, events, 0); close(done) }()
		synctest.Wait()
		events.Add(event.Event{Kind: event.BalancerStopped})
		cancel()
		<-done
		if count.events != 1 {
			t.Errorf("%d events delivered, want 1", count.events)
		}
	})
}

// A result that did not reach Nagios is sent again with the next event, even if it is the same.
func TestLostNagiosResultIsSentAgain(t *testing.T) {
	dir := t.TempDir()
	program := write(t, "send_nsca", "#!/bin/sh\ncd "+dir+" && if [ -e up ]; then cat >>out; else touch up; exit 1; fi\n")
	n := &nsca{last: map[string]result{},
		cfg: config.Hook{Host: "load01", Service: "{cluster}", Argv: []string{program}, Timeout: 10 * time.Second}}
	w := &worker{cfg: n.cfg, log: slog.New(slog.DiscardHandler), maxTries: 1}
	for range 3 {
		n.send(t.Context(), []event.Event{node(event.NodeDown, "web", 2, 3)}, w.deliver)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out"))
	if want := "load01\tweb\t1\tWARNING a node is down\n"; err != nil || string(got) != want {
		t.Errorf("sent %q, %v; want %q once", got, err, want)
	}
}

func TestReloadKeepsUnchangedHooks(t *testing.T) {
	s := NewSet(journal.Open("", slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	a := config.Hook{Name: "a", Type: config.Exec, Argv: []string{"true"}, Timeout: time.Second}
	b := config.Hook{Name: "b", Type: config.Exec, Argv: []string{"true"}, Timeout: time.Second}
	s.Configure([]config.Hook{a, b})
	first := s.hooks["a"].worker
	b.Timeout = 2 * time.Second
	second := s.hooks["b"].worker
	s.Configure([]config.Hook{a, b})
	if s.hooks["a"].worker != first || s.hooks["b"].worker == second {
		t.Error("a was restarted, or b was not")
	}
	s.Stop()
	if len(s.Counts()) != 0 {
		t.Errorf("%v", s.Counts())
	}
}

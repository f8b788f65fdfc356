package balancer

import (
	"bufio"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/netx/sse"
)

// openStream opens a stream of a daemon's events.
func openStream(t *testing.T, b *Balancer, query, id string) (*http.Response, *sse.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+b.Addr().String()+"/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", id)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, sse.NewReader(bufio.NewReader(resp.Body))
}

// nextEvent returns the id and name of the next event, without heartbeats.
func nextEvent(t *testing.T, r *sse.Reader) string {
	t.Helper()
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.ID+e.Name != "" {
			return e.ID + " " + e.Name
		}
	}
}

func TestEventStream(t *testing.T) {
	cfg := daemonConfig(t)
	cfg.Balancer.DataDir = filepath.Join(t.TempDir(), "data")
	b, stop := runDaemon(t, options(cfg))
	eventually(t, "the start", func() bool { return b.engine.rec.Report.Journal.Last() >= 2 })
	last := b.engine.rec.Report.Journal.Last()
	_, now := openStream(t, b, "?heartbeat=100ms", "")
	if got := nextEvent(t, now); got != fmt.Sprintf("%d ", last) {
		t.Fatalf("the stream starts with %q, want event %d", got, last)
	}
	_, resumed := openStream(t, b, "", fmt.Sprint(last-1))
	_, one := openStream(t, b, "?cluster=db", "")
	nextEvent(t, resumed)
	nextEvent(t, one)
	if got := nextEvent(t, resumed); !strings.HasPrefix(got, fmt.Sprintf("%d ", last)) {
		t.Errorf("the resumed stream starts with %q, want event %d", got, last)
	}
	b.engine.rec.Report.Journal.Add(event.Event{Kind: event.Weight, Cluster: "web"})
	b.engine.rec.Report.Journal.Add(event.Event{Kind: event.Weight, Cluster: "db"})
	for _, tt := range []struct {
		name   string
		stream *sse.Reader
		want   string
	}{
		{"new events", now, fmt.Sprintf("%d weight", last+1)},
		{"resumed", resumed, fmt.Sprintf("%d weight", last+1)},
		{"of one cluster", one, fmt.Sprintf("%d weight", last+2)},
	} {
		if got := nextEvent(t, tt.stream); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	stop()
	for got := ""; got != " end"; {
		got = nextEvent(t, one) // the daemon ends its streams before it stops
	}
	again := journal.Open(cfg.Balancer.DataDir, b.log)
	events, _ := again.Since(0)
	if n := len(events); n == 0 || events[n-1].Kind != event.BalancerStopped {
		t.Errorf("the file ends with %+v", events)
	}
}

func TestEventStreamsAreLimited(t *testing.T) {
	cfg := daemonConfig(t)
	b, _ := runDaemon(t, options(cfg))
	for range 64 { // the limit
		if r, _ := openStream(t, b, "", ""); r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
	}
	if r, _ := openStream(t, b, "", ""); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("one more stream: %d %v; want 503 and Retry-After", r.StatusCode, r.Header)
	}
	if status, _ := request(t, b, "", "GET", "/events"); status != 200 {
		t.Errorf("GET /events beside them: %d", status)
	}
}

// TestASlowEventReaderIsDisconnected has a client that does not read until the server has given up.
func TestASlowEventReaderIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7))
		dial, end := r.serve()
		defer end()
		conn := dial()
		if _, err := conn.Write([]byte("GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.engine.rec.Report.Journal.Add(event.Event{Kind: event.Weight})
		time.Sleep(2 * sse.WriteTimeout)
		n, err := 0, error(nil)
		for buf := make([]byte, 4096); err == nil; {
			var m int
			m, err = conn.Read(buf)
			n += m
		}
		if n > 4096 {
			t.Errorf("read %d bytes after that, then %v", n, err)
		}
	})
}

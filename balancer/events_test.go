package balancer

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/sse"
)

// kinds gives the events after a number, each in a few words.
func (r *rig) eventsSince(since uint64) string {
	events, _ := r.engine.rec.Report.Journal.Since(since)
	var words []string
	for _, e := range events {
		word := fmt.Sprintf("%s %s %s", e.Kind, e.Cluster, e.Node)
		if e.Old != "" || e.New != "" {
			word += " " + e.Old + ">" + e.New
		}
		if e.Nodes != nil {
			word += fmt.Sprintf(" %d/%d", e.Nodes.Up, e.Nodes.All)
		}
		words = append(words, strings.Join(strings.Fields(word), " "))
	}
	return strings.Join(words, "\n")
}

func (r *rig) wantEvents(what string, since uint64, want ...string) uint64 {
	r.t.Helper()
	if got := r.eventsSince(since); got != strings.Join(want, "\n") {
		r.t.Errorf("%s: events\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
	}
	return r.engine.rec.Report.Journal.Last()
}

func TestEventsOfAClusterAndItsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 4 * time.Second
		r.boot(c)
		r.start("web")
		last := r.wantEvents("start", 0,
			"marks_changed", "cluster_starting web", "node_up web 10.0.0.1 unknown>up 2/2", "node_up web 10.0.0.2 unknown>up 2/2",
			"service_added web", "node_added web 10.0.0.1 >92", "node_added web 10.0.0.2 >40", "cluster_started web 2/2")
		r.fleet.set("10.0.0.2", 0)
		r.wait(3 * time.Second)
		last = r.wantEvents("a node falls", last, "node_down web 10.0.0.2 up>down 1/2", "weight web 10.0.0.2 40>0")
		r.fleet.set("10.0.0.2", 40)
		r.wait(9 * time.Second)
		if got := r.eventsSince(last); !strings.HasPrefix(got, "node_ramping web 10.0.0.2 down>ramping 2/2\nweight web 10.0.0.2 0>1\n") ||
			!strings.Contains(got, "node_up web 10.0.0.2 ramping>up 2/2") {
			t.Errorf("a node comes back:\n%s", got)
		}
		last = r.engine.rec.Report.Journal.Last()
		if err := errors.Join(r.table.Apply(t.Context(), []ipvs.Change{ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})})...); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * time.Second)
		last = r.wantEvents("drift", last, "drift_repaired web", "drift_repaired web 10.0.0.1 >92", "drift_repaired web 10.0.0.2 >40")
		if err := r.reload(webapp("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * time.Second)
		last = r.wantEvents("a node leaves the config", last, "node_leaving web 10.0.0.2 40>0", "node_removed web 10.0.0.2 0>")
		if _, err := r.engine.Stop(t.Context(), "web", "kim"); err != nil {
			t.Fatal(err)
		}
		r.wantEvents("stop", last, "cluster_stopped web", "service_removed")
	})
}

// follow opens a stream of events of a daemon.
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

// read gives the next event that is no heartbeat.
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
		t.Fatalf("the stream begins with %q, want number %d", got, last)
	}
	_, resumed := openStream(t, b, "", fmt.Sprint(last-1))
	_, one := openStream(t, b, "?cluster=db", "")
	nextEvent(t, resumed)
	nextEvent(t, one)
	if got := nextEvent(t, resumed); !strings.HasPrefix(got, fmt.Sprintf("%d ", last)) {
		t.Errorf("resumed with %q, want event %d", got, last)
	}
	b.engine.rec.Report.Journal.Add(event.Event{Kind: event.Weight, Cluster: "web"})
	b.engine.rec.Report.Journal.Add(event.Event{Kind: event.Weight, Cluster: "db"})
	for _, tt := range []struct {
		name   string
		stream *sse.Reader
		want   string
	}{
		{"from now on", now, fmt.Sprintf("%d weight", last+1)},
		{"resumed", resumed, fmt.Sprintf("%d weight", last+1)},
		{"of one cluster", one, fmt.Sprintf("%d weight", last+2)},
	} {
		if got := nextEvent(t, tt.stream); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	stop()
	for got := ""; got != " end"; {
		got = nextEvent(t, one) // the stream ends before the daemon does
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
	for range 64 { // as many as may be open
		if r, _ := openStream(t, b, "", ""); r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
	}
	if r, _ := openStream(t, b, "", ""); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("one more is answered with %d %v", r.StatusCode, r.Header)
	}
	if status, _ := request(t, b, "", "GET", "/events"); status != 200 {
		t.Errorf("GET /events meanwhile: %d", status)
	}
}

// TestASlowEventReaderIsDisconnected lets a client read nothing: what the sockets hold is soon full.
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

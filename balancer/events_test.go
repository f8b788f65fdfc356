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
func (b *bench) kinds(since uint64) string {
	events, _ := b.engine.rec.Report.Journal.Since(since)
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

func (b *bench) wantEvents(what string, since uint64, want ...string) uint64 {
	b.t.Helper()
	if got := b.kinds(since); got != strings.Join(want, "\n") {
		b.t.Errorf("%s: events\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
	}
	return b.engine.rec.Report.Journal.Last()
}

func TestEventsTellWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 40)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 4 * time.Second
		b.boot(c)
		b.start("web")
		last := b.wantEvents("start", 0,
			"marks_changed", "cluster_starting web", "node_up web 10.0.0.1 unknown>up 2/2", "node_up web 10.0.0.2 unknown>up 2/2",
			"service_added web", "node_added web 10.0.0.1 >92", "node_added web 10.0.0.2 >40", "cluster_started web 2/2")
		b.fleet.set("10.0.0.2", 0)
		b.wait(3 * time.Second)
		last = b.wantEvents("a node falls", last, "node_down web 10.0.0.2 up>down 1/2", "weight web 10.0.0.2 40>0")
		b.fleet.set("10.0.0.2", 40)
		b.wait(9 * time.Second)
		if got := b.kinds(last); !strings.HasPrefix(got, "node_ramping web 10.0.0.2 down>ramping 2/2\nweight web 10.0.0.2 0>1\n") ||
			!strings.Contains(got, "node_up web 10.0.0.2 ramping>up 2/2") {
			t.Errorf("a node comes back:\n%s", got)
		}
		last = b.engine.rec.Report.Journal.Last()
		if err := errors.Join(b.table.Apply(t.Context(), []ipvs.Change{ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})})...); err != nil {
			t.Fatal(err)
		}
		b.wait(2 * time.Second)
		last = b.wantEvents("drift", last, "drift_repaired web", "drift_repaired web 10.0.0.1 >92", "drift_repaired web 10.0.0.2 >40")
		if err := b.reload(webapp("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		b.wait(2 * time.Second)
		last = b.wantEvents("a node leaves the config", last, "node_leaving web 10.0.0.2 40>0", "node_removed web 10.0.0.2 0>")
		if _, err := b.engine.Stop(t.Context(), "web", "kim"); err != nil {
			t.Fatal(err)
		}
		b.wantEvents("stop", last, "cluster_stopped web", "service_removed")
	})
}

// follow opens a stream of events of a daemon.
func follow(t *testing.T, b *Balancer, query, id string) (*http.Response, *sse.Reader) {
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
func read(t *testing.T, r *sse.Reader) string {
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

func TestEventsStream(t *testing.T) {
	cfg := files(t)
	cfg.Balancer.DataDir = filepath.Join(t.TempDir(), "data")
	b, stop := daemon(t, options(cfg))
	eventually(t, "the start", func() bool { return b.engine.rec.Report.Journal.Last() >= 2 })
	last := b.engine.rec.Report.Journal.Last()
	_, now := follow(t, b, "?heartbeat=100ms", "")
	if got := read(t, now); got != fmt.Sprintf("%d ", last) {
		t.Fatalf("the stream begins with %q, want number %d", got, last)
	}
	_, resumed := follow(t, b, "", fmt.Sprint(last-1))
	_, one := follow(t, b, "?cluster=db", "")
	read(t, resumed)
	read(t, one)
	if got := read(t, resumed); !strings.HasPrefix(got, fmt.Sprintf("%d ", last)) {
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
		if got := read(t, tt.stream); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	stop()
	for got := ""; got != " end"; {
		got = read(t, one) // the stream ends before the daemon does
	}
	again := journal.Open(cfg.Balancer.DataDir, b.log)
	events, _ := again.Since(0)
	if n := len(events); n == 0 || events[n-1].Kind != event.BalancerStopped {
		t.Errorf("the file ends with %+v", events)
	}
}

func TestStreamsOfEventsAreBounded(t *testing.T) {
	cfg := files(t)
	b, _ := daemon(t, options(cfg))
	for range 64 { // as many as may be open
		if r, _ := follow(t, b, "", ""); r.StatusCode != 200 {
			t.Fatalf("status %d", r.StatusCode)
		}
	}
	if r, _ := follow(t, b, "", ""); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("one more is answered with %d %v", r.StatusCode, r.Header)
	}
	if status, _ := request(t, b, "", "GET", "/events"); status != 200 {
		t.Errorf("GET /events meanwhile: %d", status)
	}
}

// TestASlowReaderOfEventsIsCutOff lets a client read nothing: what the sockets hold is soon full.
func TestASlowReaderOfEventsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.boot(webapp("web", 7))
		dial, end := b.serve()
		defer end()
		conn := dial()
		if _, err := conn.Write([]byte("GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.engine.rec.Report.Journal.Add(event.Event{Kind: event.Weight})
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

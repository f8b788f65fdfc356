package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/config"
)

// sent is what a stream sends: an event, or a comment.
type sent struct {
	id, name, data, comment string
}

// health reads the data of an event.
func (s sent) health(t testing.TB) api.HealthEvent {
	t.Helper()
	var e api.HealthEvent
	if s.name != "health" || json.Unmarshal([]byte(s.data), &e) != nil {
		t.Fatalf("%+v is no event of health", s)
	}
	return e
}

// watcher is a client of a stream.
type watcher struct {
	t     testing.TB
	body  io.Closer
	lines *bufio.Scanner
}

// watch opens a stream.
func watch(t testing.TB, c *http.Client, url, lastID string) *watcher {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t, answer.Body, bufio.NewScanner(answer.Body)}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("X-Heartbeat") != "1" {
		t.Fatalf("GET %s: %s %v %q", url, answer.Status, answer.Header, bodyOf(t, answer))
	}
	return w
}

// next reads up to the end of an event or comment; false: the stream has ended.
func (w *watcher) next() (s sent, more bool) {
	for w.lines.Scan() {
		field, value, _ := strings.Cut(w.lines.Text(), ": ")
		switch field {
		case "id":
			s.id = value
		case "event":
			s.name = value
		case "data":
			s.data = value
		case "":
			if w.lines.Text() == "" {
				return s, true
			}
			s.comment = value
		case "retry":
		default:
			w.t.Errorf("the stream has the line %q", w.lines.Text())
		}
	}
	return s, false
}

// event reads the next event, past heartbeats.
func (w *watcher) event() sent {
	w.t.Helper()
	for {
		switch s, more := w.next(); {
		case !more:
			w.t.Fatalf("the stream has ended: %v", w.lines.Err())
		case s.comment == "":
			return s
		}
	}
}

func (w *watcher) close() { w.body.Close() }

func plainClient(t testing.TB) *http.Client {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestAStreamGivesTheHealthAtOnceAndEveryChange(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, webapp("true"), config.Service{Name: "other", Metrics: []config.Check{constant(7)}}))
	clients := map[string]*watcher{
		"over TCP":        watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", ""),
		"over the socket": watch(t, client(filepath.Join(dir, "agent.sock")), "http://agent/webapp/watch", ""),
	}
	for _, step := range []struct {
		method, target, want string // want: health, measured, kind and reason of the force, cause; "": no event
	}{
		{"", "", `85 85 <nil> "measured"`},
		{"POST", "/webapp/down?reason=apt+upgrades&who=kim", `0 85 down "apt upgrades" false "forced down by kim: apt upgrades"`},
		{"POST", "/other/down?reason=x", ""},
		{"POST", "/webapp/health?health=3&reason=hidden+by+down", ""},
		{"POST", "/webapp/down?reason=longer&who=kim", `0 85 down "longer" false "forced down by kim: longer"`},
		{"DELETE", "/webapp/down", `3 85 health "hidden by down" false "forced health by uid 0 (pid 42): hidden by down"`},
		{"POST", "/up?reason=all&who=kim", `100 85 up "all" true "forced up by kim: all"`},
		{"DELETE", "/up", `3 85 health "hidden by down" false "forced health by uid 0 (pid 42): hidden by down"`},
		{"DELETE", "/webapp/health", `85 85 <nil> "measured"`},
	} {
		if step.method != "" {
			if r := b.ask(overSocket, step.method, step.target, ""); r.StatusCode >= 300 {
				t.Fatalf("%s %s: %s", step.method, step.target, r.Status)
			}
		}
		if step.want == "" {
			continue
		}
		for how, w := range clients {
			e := w.event().health(t)
			got := fmt.Sprintf("%d %d <nil> %q", e.Health, e.Measured, e.Reason)
			if f := e.Forced; f != nil {
				got = fmt.Sprintf("%d %d %s %q %v %q", e.Health, e.Measured, f.Kind, f.Reason, f.All, e.Reason)
			}
			if age := time.Since(e.At); got != step.want || e.Service != "webapp" || age < -time.Second || age > patience {
				t.Errorf("%s: after %s %s the event is %+v, want %s", how, step.method, step.target, e, step.want)
			}
		}
	}
	for _, w := range clients {
		w.close()
	}
	eventually(t, "both streams are gone", func() bool { open, _ := b.streams.state(); return open == 0 })
}

func TestAStreamResumesByEventID(t *testing.T) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	url := "http://" + b.Addr().String() + "/webapp/watch"
	force := func(n int) {
		t.Helper()
		if r := b.ask(overSocket, "POST", fmt.Sprintf("/webapp/health?health=%d", n), ""); r.StatusCode != 201 {
			t.Fatal(r.Status)
		}
	}
	resume := func(lastID string) (ids []string, healths []int) {
		t.Helper()
		w := watch(t, plainClient(t), url, lastID)
		defer w.close()
		// The end of what is sent first is marked by an event that is sent after it.
		force(99)
		for {
			e := w.event()
			if *e.health(t).Forced.Value == 99 {
				return ids, healths
			}
			ids, healths = append(ids, e.id), append(healths, e.health(t).Health)
		}
	}
	force(1)
	ids, _ := resume("")
	first := ids[0]
	for n := 2; n <= 4; n++ {
		force(n)
	}
	w := watch(t, plainClient(t), url, first)
	var all []int
	for range 4 {
		e := w.event()
		all = append(all, *e.health(t).Forced.Value)
	}
	w.close()
	if fmt.Sprint(all) != "[99 2 3 4]" {
		t.Errorf("missed were %v, want [99 2 3 4]", all)
	}
	force(5)
	run, _, _ := strings.Cut(first, "-")
	for _, tc := range []struct{ name, id string }{
		{"no id", ""},
		{"nothing missed", ""},
		{"another run of the agent", "00000000-1"},
		{"no id of ours", "abc"},
		{"an id still to come", run + "-18446744073709551615"},
		{"a number too large", run + "-18446744073709551616"},
		{"older than what is kept", run + "-0"},
	} {
		force(5)
		if tc.name == "nothing missed" {
			w := watch(t, plainClient(t), url, "")
			tc.id = w.event().id
			w.close()
		}
		if _, healths := resume(tc.id); fmt.Sprint(healths) != "[5]" {
			t.Errorf("%s: first came %v, want the present, [5]", tc.name, healths)
		}
	}
	for range maxRecent + 1 {
		force(6)
	}
	if _, healths := resume(first); fmt.Sprint(healths) != "[6]" {
		t.Errorf("after more events than are kept: %v, want the present, [6]", healths)
	}
}

func TestStreamsEndAtShutdownAndSayWhy(t *testing.T) {
	b, stop := running(t, configIn(shortDir(t), webapp("true")))
	w := watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", "")
	defer w.close()
	w.event()
	begun := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took >= stopTime {
		t.Errorf("the stream held up the end of the agent for %s", took)
	}
	if e := w.event(); e != (sent{name: "end", data: errAgentStops.Error()}) {
		t.Errorf("the last event is %+v", e)
	}
	if s, more := w.next(); more {
		t.Errorf("after the end came %+v", s)
	}
	if r := b.ask(overTCP, "GET", "/webapp/watch", ""); r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" {
		t.Errorf("a stream after the end: %s", r.Status)
	}
}

func TestAStreamEndsWhenItsServiceLeavesTheConfiguration(t *testing.T) {
	dir := shortDir(t)
	other := config.Service{Name: "other", Metrics: []config.Check{constant(7)}}
	b, _ := running(t, configIn(dir, webapp("true"), other))
	url := "http://" + b.Addr().String()
	leaves, stays := watch(t, plainClient(t), url+"/webapp/watch", ""), watch(t, plainClient(t), url+"/other/watch", "")
	defer leaves.close()
	defer stays.close()
	leaves.event()
	stays.event()
	other.Metrics = []config.Check{constant(8)}
	b.configure(configIn(dir, other), nil)
	b.reload <- struct{}{}
	if e := leaves.event(); e != (sent{name: "end", data: errLeft.Error()}) {
		t.Errorf("the service that left: %+v", e)
	}
	if e := stays.event().health(t); e.Health != 8 {
		t.Errorf("the service whose checks changed: %+v", e)
	}
	if r := b.ask(overTCP, "GET", "/webapp/watch", ""); r.StatusCode != 404 {
		t.Errorf("a stream of the service that left: %s", r.Status)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	b := newBench(t, configIn(shortDir(t), webapp("true")))
	b.streams.begin(b.services.Find)
	defer b.streams.stop()
	for over, most := range map[way]int{overTCP: maxStreams, overSocket: maxSocketStreams} {
		var open []*stream
		for range most {
			s, _, err := b.streams.subscribe(over, "webapp", "")
			if err != nil {
				t.Fatalf("after %d streams: %v", len(open), err)
			}
			open = append(open, s)
		}
		if r := b.ask(over, "GET", "/webapp/watch", ""); r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || !strings.Contains(bodyOf(t, r), "poll GET /SERVICE/status") {
			t.Errorf("one stream too many: %s %v", r.Status, r.Header)
		}
		if r := b.ask(over, "GET", "/nope/watch", ""); r.StatusCode != 404 {
			t.Errorf("an unknown service: %s", r.Status)
		}
		b.streams.leave(open[0])
		b.streams.leave(open[0]) // a second time must not make room for another one
		if _, _, err := b.streams.subscribe(over, "webapp", ""); err != nil {
			t.Errorf("after one left: %v", err)
		}
		if _, _, err := b.streams.subscribe(over, "webapp", ""); err != errTooMany {
			t.Errorf("one too many again: %v", err)
		}
	}
}

func TestHEADOfAStreamGivesItsHeadersOnly(t *testing.T) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	r, err := plainClient(t).Head("http://" + b.Addr().String() + "/webapp/watch")
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" || bodyOf(t, r) != "" {
		t.Errorf("%s %v", r.Status, r.Header)
	}
	eventually(t, "the stream is gone", func() bool { open, _ := b.streams.state(); return open == 0 })
}

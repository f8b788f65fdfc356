package agent

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
)

func plainClient(t testing.TB) *http.Client {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestAStreamSendsTheCurrentHealthAndEveryChange(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, webapp("true"), config.Service{Name: "other", Metrics: []config.Check{constant(7)}}))
	clients := map[string]*agenttest.Watcher{
		"over TCP":        agenttest.Watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", ""),
		"over the socket": agenttest.Watch(t, client(filepath.Join(dir, "agent.sock")), "http://agent/webapp/watch", ""),
	}
	for _, step := range []struct {
		method, target, want string // want: health, measured, the force and the cause; "" is no event
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
			if r := b.do(server.Socket, step.method, step.target, ""); r.StatusCode >= 300 {
				t.Fatalf("%s %s: %s", step.method, step.target, r.Status)
			}
		}
		if step.want == "" {
			continue
		}
		for how, w := range clients {
			e := w.NextEvent().Health(t)
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
		w.Close()
	}
	eventually(t, "both streams are closed", func() bool { return b.streams.Counts().Open == 0 })
}

func TestAStreamResumesByEventID(t *testing.T) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	url := "http://" + b.Addr().String() + "/webapp/watch"
	force := func(n int) {
		t.Helper()
		if r := b.do(server.Socket, "POST", fmt.Sprintf("/webapp/health?health=%d", n), ""); r.StatusCode != 201 {
			t.Fatal(r.Status)
		}
	}
	resume := func(lastID string) (ids []string, healths []int) {
		t.Helper()
		w := agenttest.Watch(t, plainClient(t), url, lastID)
		defer w.Close()
		// This event marks the end of what the stream sends first.
		force(99)
		for {
			e := w.NextEvent()
			if *e.Health(t).Forced.Value == 99 {
				return ids, healths
			}
			ids, healths = append(ids, e.ID), append(healths, e.Health(t).Health)
		}
	}
	force(1)
	ids, _ := resume("")
	first := ids[0]
	for n := 2; n <= 4; n++ {
		force(n)
	}
	w := agenttest.Watch(t, plainClient(t), url, first)
	var all []int
	for range 4 {
		e := w.NextEvent()
		all = append(all, *e.Health(t).Forced.Value)
	}
	w.Close()
	if fmt.Sprint(all) != "[99 2 3 4]" {
		t.Errorf("missed %v, want [99 2 3 4]", all)
	}
	force(5)
	run, _, _ := strings.Cut(first, "-")
	for _, tc := range []struct{ name, id string }{
		{"no id", ""},
		{"nothing missed", ""},
		{"another run of the agent", "00000000-1"},
		{"not an id", "abc"},
		{"a future id", run + "-18446744073709551615"},
		{"a number out of range", run + "-18446744073709551616"},
		{"older than what is kept", run + "-0"},
	} {
		force(5)
		if tc.name == "nothing missed" {
			w := agenttest.Watch(t, plainClient(t), url, "")
			tc.id = w.NextEvent().ID
			w.Close()
		}
		if _, healths := resume(tc.id); fmt.Sprint(healths) != "[5]" {
			t.Errorf("%s: first %v, want the current health, [5]", tc.name, healths)
		}
	}
	for range 32 + 1 {
		force(6)
	}
	if _, healths := resume(first); fmt.Sprint(healths) != "[6]" {
		t.Errorf("after more events than are kept: %v, want the current health, [6]", healths)
	}
}

func TestStreamsEndAtShutdownWithAReason(t *testing.T) {
	b, stop := running(t, configIn(shortDir(t), webapp("true")))
	w := agenttest.Watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", "")
	defer w.Close()
	w.NextEvent()
	begun := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took >= stopTimeout {
		t.Errorf("the stream delayed the stop of the agent by %s", took)
	}
	if e := w.NextEvent(); e != (agenttest.Event{Name: "end", Data: "the agent is stopping"}) {
		t.Errorf("the last event is %+v", e)
	}
	if s, more := w.Next(); more {
		t.Errorf("received %+v after the end", s)
	}
	if r := b.do(server.TCP, "GET", "/webapp/watch", ""); r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" {
		t.Errorf("a stream after the end: %s", r.Status)
	}
}

func TestAStreamEndsIfItsServiceIsRemoved(t *testing.T) {
	dir := shortDir(t)
	other := config.Service{Name: "other", Metrics: []config.Check{constant(7)}}
	b, _ := running(t, configIn(dir, webapp("true"), other))
	url := "http://" + b.Addr().String()
	leaves, stays := agenttest.Watch(t, plainClient(t), url+"/webapp/watch", ""), agenttest.Watch(t, plainClient(t), url+"/other/watch", "")
	defer leaves.Close()
	defer stays.Close()
	leaves.NextEvent()
	stays.NextEvent()
	other.Metrics = []config.Check{constant(8)}
	b.configure(configIn(dir, other), nil)
	b.reload <- struct{}{}
	if e := leaves.NextEvent(); e != (agenttest.Event{Name: "end", Data: "the service was removed from the configuration"}) {
		t.Errorf("the removed service: %+v", e)
	}
	if e := stays.NextEvent().Health(t); e.Health != 8 {
		t.Errorf("the changed service: %+v", e)
	}
	if r := b.do(server.TCP, "GET", "/webapp/watch", ""); r.StatusCode != 404 {
		t.Errorf("a stream of the removed service: %s", r.Status)
	}
}

func TestHEADOfAStreamSendsHeadersOnly(t *testing.T) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	r, err := plainClient(t).Head("http://" + b.Addr().String() + "/webapp/watch")
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" || bodyOf(t, r) != "" {
		t.Errorf("%s %v", r.Status, r.Header)
	}
	eventually(t, "the stream is closed", func() bool { return b.streams.Counts().Open == 0 })
}

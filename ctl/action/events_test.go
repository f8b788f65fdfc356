package action

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/sse"
)

func someEvents() []event.Event {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.Local)
	return []event.Event{
		{Number: 7, Time: at, Kind: event.Weight, Text: "kernel table changed", Cluster: "web", Node: "10.0.0.1", Old: "92", New: "0",
			Cause: "agent reported health 0"},
		{Number: 8, Time: at, Kind: event.ConfigRefused, Text: "reload refused", Err: "lb.toml:3: nonsense"},
		{Number: 9, Time: at, Kind: event.MarksChanged, Text: "marking rules changed", Change: "mark 7: add tcp 204.109.13.7:443"},
	}
}

const someEventsText = `7  2026-11-25 12:00:00  weight  web  10.0.0.1  92 → 0: agent reported health 0
8  2026-11-25 12:00:00  config_refused  reload refused: lb.toml:3: nonsense
9  2026-11-25 12:00:00  marks_changed  mark 7: add tcp 204.109.13.7:443
`

// serve starts a balancer with this handler and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Balancer(), s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEventsAreReadInParts(t *testing.T) {
	all := someEvents()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		l := api.EventList{Events: all[:2], Last: 8, More: true, Missed: 3}
		switch r.URL.RawQuery {
		case "cluster=web&since=3":
		case "cluster=web&since=8":
			l = api.EventList{Events: all[2:], Last: 9}
		default:
			t.Errorf("query %s", r.URL.RawQuery)
		}
		_ = json.NewEncoder(w).Encode(l)
	})
	since := uint64(3)
	var out strings.Builder
	if err := Events(t.Context(), &out, c, EventsQuery{Since: &since, Cluster: "web"}, Format{}); err != nil {
		t.Fatal(err)
	}
	if want := "… 3 events are no longer in memory: events.log in the balancer's data_dir has them\n" +
		someEventsText; out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestFollowEventsSurvivesARestart(t *testing.T) {
	all := someEvents()
	frame := func(e event.Event) []byte {
		data, _ := json.Marshal(e)
		return sse.Frame(fmt.Sprint(e.Number), string(e.Kind), string(data))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	streams := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		s, err := sse.Begin(w, sse.DefaultHeartbeat)
		if err != nil {
			t.Error(err)
			return
		}
		streams++
		switch {
		case streams == 1 && r.URL.RawQuery == "":
			_, _ = s.Write(sse.Preamble([]byte("id: 6\n\n")))
			_, _ = s.Write(sse.Frame("", "end", "lb balance is stopping"))
		case streams == 2 && r.URL.RawQuery == "since=6":
			_, _ = s.Write(append(sse.Frame("", "missed", "2"), append(frame(all[0]), frame(all[1])...)...))
		case streams == 3 && r.URL.RawQuery == "since=8":
			_, _ = s.Write(frame(all[2]))
			cancel()
		default:
			t.Errorf("stream %d has query %q", streams, r.URL.RawQuery)
		}
	})
	var out strings.Builder
	if err := FollowEvents(ctx, &out, c, EventsQuery{}, Format{JSON: true}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) < 3 || lines[0] != `{"missed":2}` ||
		!strings.HasPrefix(lines[1], `{"number":7,`) {
		t.Errorf("got %s", &out)
	}
}

func TestFollowEventsEndsWhenRefused(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "too many streams are open")
	})
	if err := FollowEvents(t.Context(), &strings.Builder{}, c, EventsQuery{}, Format{}); err == nil ||
		!strings.Contains(err.Error(), "too many streams") {
		t.Errorf("FollowEvents = %v", err)
	}
	absent, err := client.New(client.Balancer(), t.TempDir()+"/none.sock")
	if err != nil {
		t.Fatal(err)
	}
	if err := FollowEvents(t.Context(), &strings.Builder{}, absent, EventsQuery{}, Format{}); err == nil ||
		!strings.Contains(err.Error(), "is it running?") {
		t.Errorf("FollowEvents without a balancer = %v", err)
	}
}

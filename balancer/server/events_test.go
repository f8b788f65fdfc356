package server

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
)

func TestEventsPage(t *testing.T) {
	events := journal.Open("", slog.New(slog.DiscardHandler))
	const total = 1500
	for n := range total {
		events.Add(event.Event{Kind: event.Weight, Cluster: []string{"web", "db"}[n%2], Text: "x"})
	}
	h := handler{Options: Options{Journal: events}}
	for _, tt := range []struct {
		name, query         string
		status              int
		events, first, last uint64
		more                bool
	}{
		{"the newest", "", 200, 1000, total - 999, total, false},
		{"all, the first part", "?since=0", 200, 1000, 1, 1000, true},
		{"since", "?since=1498", 200, 2, total - 1, total, false},
		{"none", "?since=1500", 200, 0, 0, total, false},
		{"of a cluster", "?since=1498&cluster=db", 200, 1, total, total, false},
		{"nonsense", "?since=-1", 400, 0, 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/events"+tt.query, nil))
			var l api.EventList
			if w.Code != tt.status || tt.status == 200 && json.Unmarshal(w.Body.Bytes(), &l) != nil {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if uint64(len(l.Events)) != tt.events || l.Last != tt.last || l.More != tt.more ||
				tt.events > 0 && l.Events[0].Number != tt.first {
				t.Errorf("%d events, last %d, more %t", len(l.Events), l.Last, l.More)
			}
		})
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("POST", "/events", nil)); w.Code != 404 {
		t.Errorf("POST: status %d", w.Code)
	}
}

// A client that pages through the events while new ones arrive gets each of them.
func TestNoEventIsLostBetweenTwoPages(t *testing.T) {
	const total = 200_000
	events := journal.Open("", slog.New(slog.DiscardHandler))
	h := handler{Options: Options{Journal: events}}
	go func() {
		for range total {
			events.Add(event.Event{Kind: event.Weight})
		}
	}()
	for since, seen := uint64(0), uint64(0); since < total; {
		l := h.eventsAfter(since, "")
		if seen += l.Missed + uint64(len(l.Events)); seen != l.Last {
			t.Fatalf("%d events returned or reported missing, and the page continues after %d", seen, l.Last)
		}
		since = l.Last
	}
}

package stream

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/braintree/lb/agent/service"
)

// testHub is an open hub with a service "web" whose health a test sets.
type testHub struct {
	Hub
	health  int
	removed bool
}

func newTestHub() *testHub {
	h := &testHub{}
	h.Open(func(name string, _ time.Time) (service.View, bool) {
		return service.View{Name: name, Health: h.health, Measured: h.health}, name == "web" && !h.removed
	})
	return h
}

// publish changes the health of web.
func (h *testHub) publish(health int) {
	h.health = health
	h.Refresh("web")
}

func TestSubscriptionsAreLimitedByQuota(t *testing.T) {
	h := newTestHub()
	quota := Quota{Max: 3}
	var open []*Subscription
	for range quota.Max {
		s, _, err := h.Subscribe("web", "", &quota)
		if err != nil {
			t.Fatalf("after %d: %v", len(open), err)
		}
		open = append(open, s)
	}
	if _, _, err := h.Subscribe("web", "", &quota); !errors.Is(err, errTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if _, _, err := h.Subscribe("nope", "", &quota); !errors.Is(err, ErrNoService) {
		t.Errorf("an unknown service: %v", err)
	}
	h.Unsubscribe(open[0])
	h.Unsubscribe(open[0]) // must not make room for another one
	if _, _, err := h.Subscribe("web", "", &quota); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
	if _, _, err := h.Subscribe("web", "", &quota); !errors.Is(err, errTooMany) {
		t.Errorf("one too many again: %v", err)
	}
	if _, _, err := h.Subscribe("web", "", &Quota{Max: 1}); err != nil {
		t.Errorf("with another quota: %v", err)
	}
	if n := h.Counts(); n != (Counts{Open: 4, Opened: 5, Refused: 2, Events: 1}) {
		t.Errorf("counts are %+v", n)
	}
}

func TestASlowSubscriptionIsEndedAndOthersAreNot(t *testing.T) {
	h := newTestHub()
	quota := Quota{Max: 2}
	slow, _, slowErr := h.Subscribe("web", "", &quota)
	fast, _, fastErr := h.Subscribe("web", "", &quota)
	if err := errors.Join(slowErr, fastErr); err != nil {
		t.Fatal(err)
	}
	for n := range maxRecent {
		h.publish(n + 1)
		<-fast.frames
	}
	select {
	case <-slow.ended:
		t.Errorf("ended after %d events", maxRecent)
	default:
	}
	h.publish(maxRecent + 1)
	<-fast.frames
	if <-slow.ended; slow.cause != errSlowReading {
		t.Errorf("ended by %v", slow.cause)
	}
	if n := h.Counts(); n.Open != 1 || n.Slow != 1 {
		t.Errorf("counts are %+v", n)
	}
}

func TestASubscriptionStartsWithWhatItMissed(t *testing.T) {
	h := newTestHub()
	for n := range maxRecent + 10 { // events 1 to 42 with the health 10 to 51
		h.publish(n + 10)
		if n == 0 { // the first subscription creates the topic
			if _, _, err := h.Subscribe("web", "", &Quota{Max: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	health := regexp.MustCompile(`"health":(\d+)`)
	for _, tc := range []struct {
		name, lastID string
		want         []string
	}{
		{"no id", "", []string{"51"}},
		{"the last two missed", h.run + "-40", []string{"50", "51"}},
		{"nothing missed", h.run + "-42", []string{"51"}},
		{"another run of the agent", "00000000-40", []string{"51"}},
		{"not an id", "abc", []string{"51"}},
		{"a future id", h.run + "-18446744073709551615", []string{"51"}},
		{"a number out of range", h.run + "-18446744073709551616", []string{"51"}},
		{"older than what is kept", h.run + "-10", []string{"51"}},
	} {
		_, first, err := h.Subscribe("web", tc.lastID, &Quota{Max: 1})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range health.FindAllSubmatch(first, -1) {
			got = append(got, string(m[1]))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestAnUnchangedStateIsNoEvent(t *testing.T) {
	h := newTestHub()
	s, _, err := h.Subscribe("web", "", &Quota{Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.Refresh("web")
		h.RefreshAll()
	}
	if n := len(s.frames); n != 0 || h.Counts().Events != 1 {
		t.Errorf("%d events are queued, counts are %+v", n, h.Counts())
	}
}

func TestStreamsEndWithTheirServiceAndWithTheHub(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(h *testHub)
		want error
		then error // of another subscription
	}{
		{"service", func(h *testHub) { h.removed = true; h.RefreshAll() }, errRemoved, ErrNoService},
		{"hub", func(h *testHub) { h.close() }, errStopping, errClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, quota := newTestHub(), Quota{Max: 1}
			s, _, err := h.Subscribe("web", "", &quota)
			if err != nil {
				t.Fatal(err)
			}
			tc.end(h)
			if <-s.ended; s.cause != tc.want {
				t.Errorf("ended by %v, want %v", s.cause, tc.want)
			}
			h.Unsubscribe(s)
			if n := h.Counts(); n.Open != 0 {
				t.Errorf("counts are %+v", n)
			}
			if _, _, err := h.Subscribe("web", "", &quota); !errors.Is(err, tc.then) {
				t.Errorf("another subscription: %v, want %v", err, tc.then)
			}
		})
	}
	if _, _, err := new(Hub).Subscribe("web", "", &Quota{Max: 1}); fmt.Sprint(err) != errClosed.Error() {
		t.Errorf("a hub that was not opened: %v", err)
	}
}

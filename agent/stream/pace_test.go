package stream

import (
	"testing"
	"time"
)

const (
	asked   = 200 * time.Millisecond
	slowest = 1800 * time.Millisecond
)

func TestHeartbeatsStayWithinTheBudget(t *testing.T) {
	perHour := func(perSecond int64) int64 { return perSecond * 3600 }
	all := budget / 3600
	for name, tt := range map[string]struct {
		asked, slowest time.Duration
		others         int64 // heartbeats per hour
		want           time.Duration
	}{
		"the only stream":            {asked, slowest, 0, asked},
		"room for it":                {asked, slowest, budget - perHour(5), asked},
		"room for half of it":        {asked, slowest, budget - perHour(5)/2, 2 * asked},
		"room for next to nothing":   {asked, slowest, budget - 1, slowest},
		"no room":                    {asked, slowest, budget, slowest},
		"above the budget":           {asked, slowest, 2 * budget, slowest},
		"no choice":                  {asked, asked, budget, asked},
		"the fastest, no room":       {100 * time.Millisecond, time.Minute, budget, time.Minute},
		"less than a budget's share": {time.Minute, time.Minute, perHour(all) / 2, time.Minute},
	} {
		if got := grant(tt.asked, tt.slowest, tt.others); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// However many streams there are, those that leave the agent the choice do not exceed the budget by more than their slowest pace.
func TestManyStreamsGetSlowerHeartbeats(t *testing.T) {
	h, quota := newTestHub(), Quota{Max: 1024}
	var open []*Subscription
	least := int64(0)
	for n := range quota.Max {
		s, _, err := h.Subscribe("web", "", &quota)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
		got := h.Pace(s, asked, slowest)
		if got < asked || got > slowest || n < 50 && got != asked {
			t.Fatalf("stream %d has a heartbeat every %s", n+1, got)
		}
		if least += int64(time.Hour / slowest); h.perHour > budget+least {
			t.Fatalf("%d streams have %d heartbeats an hour, want at most %d and %d", n+1, h.perHour, budget, least)
		}
	}
	older, _, err := h.Subscribe("web", "", &Quota{Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Pace(older, asked, asked); got != asked {
		t.Errorf("a client that leaves no choice has a heartbeat every %s, want the %s that it asked for", got, asked)
	}
	for _, s := range append(open, older) {
		h.Unsubscribe(s)
	}
	if h.perHour != 0 {
		t.Errorf("%d heartbeats an hour are counted without a stream", h.perHour)
	}
}

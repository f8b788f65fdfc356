package reconcile

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
)

func TestAProblemIsReportedWhenItBeginsAndWhenItEnds(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	r := NewReporter(quiet, journal.Open("", quiet))
	start := time.Unix(1000, 0).UTC()
	absent := func(vip, text string) api.Problem {
		return api.Problem{Kind: "vip_absent", Cluster: "webapp", Subject: vip, Text: text, Fix: "add it"}
	}
	forwarding := api.Problem{Kind: "ip_forward", Text: "packets are not forwarded", Fix: "sysctl"}
	for i, found := range [][]api.Problem{
		nil,
		{absent("10.0.0.2", "10.0.0.2 is nowhere"), absent("10.0.0.1", "10.0.0.1 is nowhere")},
		{absent("10.0.0.1", "10.0.0.1 is nowhere, 3 clients wait")},
		{absent("10.0.0.1", "10.0.0.1 is nowhere, 4 clients wait")},
	} {
		r.Problems(start.Add(time.Duration(i)*time.Second), "addresses", found)
	}
	r.Problems(start.Add(time.Minute), "settings", []api.Problem{forwarding})

	forwarding.Since = start.Add(time.Minute)
	left := absent("10.0.0.1", "10.0.0.1 is nowhere, 4 clients wait")
	left.Since = start.Add(time.Second)
	if diff := cmp.Diff([]api.Problem{forwarding, left}, r.Standing()); diff != "" {
		t.Errorf("standing problems (-want +got):\n%s", diff)
	}
	r.Problems(start.Add(2*time.Minute), "addresses", nil)
	r.Problems(start.Add(2*time.Minute), "settings", nil)
	if left := r.Standing(); len(left) > 0 {
		t.Errorf("%v still stand", left)
	}

	type line struct {
		Kind event.Kind
		Text string
	}
	var got []line
	events, _ := r.Journal.Since(0)
	for _, e := range events {
		got = append(got, line{e.Kind, e.Text})
	}
	want := []line{
		{event.ProblemFound, "problem found: 10.0.0.1 is nowhere"},
		{event.ProblemFound, "problem found: 10.0.0.2 is nowhere"},
		{event.ProblemSolved, "problem solved: 10.0.0.2 is nowhere"},
		{event.ProblemFound, "problem found: packets are not forwarded"},
		{event.ProblemSolved, "problem solved: 10.0.0.1 is nowhere, 4 clients wait"},
		{event.ProblemSolved, "problem solved: packets are not forwarded"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

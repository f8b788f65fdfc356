package reconcile

import (
	"log/slog"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
)

// Problems sets the problems that a source finds at present. It reports each that is new and each that is over; one that changes only
// its words is not reported again.
func (r *Reporter) Problems(now time.Time, source string, found []api.Problem) {
	before := r.problems[source]
	if len(before)+len(found) == 0 {
		return // nearly always
	}
	found = slices.Clone(found)
	slices.SortFunc(found, api.Problem.Compare)
	for i := range found {
		found[i].Since = now
		if at := slices.IndexFunc(before, found[i].Same); at >= 0 {
			found[i].Since = before[at].Since
		} else {
			r.problem(now, event.ProblemFound, event.Warn, found[i])
		}
	}
	for _, p := range before {
		if !slices.ContainsFunc(found, p.Same) {
			r.problem(now, event.ProblemSolved, event.Info, p)
		}
	}
	r.problems[source] = found
}

func (r *Reporter) problem(now time.Time, kind event.Kind, level event.Level, p api.Problem) {
	text, fix := "problem found: "+p.Text, []slog.Attr{slog.String("fix", p.Fix)}
	if kind == event.ProblemSolved {
		text, fix = "problem solved: "+p.Text, nil
	}
	r.Emit(event.Report{Level: level, Event: event.Event{Time: now, Kind: kind, Text: text, Cluster: p.Cluster}}, fix...)
}

// Standing returns the problems of all sources, sorted.
func (r *Reporter) Standing() []api.Problem {
	var all []api.Problem
	for _, found := range r.problems {
		all = append(all, found...)
	}
	slices.SortFunc(all, api.Problem.Compare)
	return all
}

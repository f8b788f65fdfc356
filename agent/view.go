package agent

import (
	"fmt"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/score"
)

// view is what is known about one service at one moment.
type view struct {
	name     string
	measured int
	health   int          // measured, unless a force is in effect
	forced   *force.Force // in effect; nil: none
	all      []line       // depends, then metrics
	depends  []line
	metrics  []line
}

// line is what is known about one check.
type line struct {
	*schedule.Job
	score.Reading
	result *schedule.Result // nil: it has not run yet
}

// lookUp is look for a service by its name; false: there is none.
func (a *Agent) lookUp(service string, now time.Time) (view, bool) {
	s, ok := a.current.Load().byName[service]
	if !ok {
		return view{}, false
	}
	return a.look(s, now), true
}

// look reads the latest results of a service, and the force in effect. Every balancer asks for it every other second, so it makes one
// thing only.
func (a *Agent) look(s *service, now time.Time) view {
	all := make([]line, len(s.depends)+len(s.metrics))
	v := view{name: s.name, all: all, depends: all[:len(s.depends):len(s.depends)], metrics: all[len(s.depends):]}
	var few [16]score.Reading // of more the rest is made
	readings := few[:0]
	for i, p := range s.depends {
		v.depends[i] = lineOf(p)
		readings = append(readings, v.depends[i].Reading)
	}
	for i, p := range s.metrics {
		v.metrics[i] = lineOf(p)
		readings = append(readings, v.metrics[i].Reading)
	}
	v.measured = score.Measured(now, readings[:len(s.depends)], readings[len(s.depends):])
	v.health = v.measured
	if f, ok := a.forces.InEffect(s.name, now); ok {
		forced := f // so that only what is forced is made
		v.forced = &forced
		v.health = f.Override().Apply(v.measured)
	}
	return v
}

func lineOf(j *schedule.Job) line {
	reading, r := j.Reading()
	return line{Job: j, Reading: reading, result: r}
}

// shown is the check's line in the status page, with the figures of its latest run where it has some.
func (l line) shown() string {
	if l.result != nil && l.result.Shown != "" {
		return l.result.Shown
	}
	return l.Name
}

// word is how a dependency stands in the status page.
func (l line) word(now time.Time) string {
	if l.Well(now) {
		return "OK"
	}
	return "FAIL"
}

// detail says why a check stands as it does.
func (l line) detail(now time.Time) string {
	switch {
	case l.result == nil:
		return "has not run yet"
	case l.Stale(now):
		return fmt.Sprintf("no result for %s (the interval is %s); before that: %s", l.Age(now).Truncate(time.Millisecond), l.Config.Interval, l.result.Detail)
	}
	return l.result.Detail
}

// cause says in one line why the service has the health that it has; it is for the log.
func (v view) cause(now time.Time) string {
	if v.forced != nil && (v.forced.Kind != score.Health || v.forced.Value <= v.measured) {
		return fmt.Sprintf("forced %s by %s: %s", v.forced.Kind, v.forced.Who, v.forced.Reason)
	}
	for _, d := range v.depends {
		if !d.Well(now) {
			return d.Name + ": " + d.detail(now)
		}
	}
	for _, m := range v.metrics {
		if !m.Well(now) {
			return m.Name + ": " + m.detail(now)
		}
	}
	return "measured"
}

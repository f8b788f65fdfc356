package agent

import (
	"fmt"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
)

// view is what is known about one service at one moment.
type view struct {
	name     string
	measured int
	health   int          // measured, unless a force is in effect
	forced   *force.Force // in effect; nil: none
	depends  []line
	metrics  []line
}

// line is what is known about one check.
type line struct {
	*probe
	score.Reading
	result *result // nil: it has not run yet
}

// lookUp is look for a service by its name; false: there is none.
func (a *Agent) lookUp(service string, now time.Time) (view, bool) {
	s, ok := a.current.Load().byName[service]
	if !ok {
		return view{}, false
	}
	return a.look(s, now), true
}

// look reads the latest results of a service, and the force in effect.
func (a *Agent) look(s *service, now time.Time) view {
	v := view{name: s.name}
	var depends, metrics []score.Reading
	v.depends, depends = lines(s.depends)
	v.metrics, metrics = lines(s.metrics)
	v.measured = score.Measured(now, depends, metrics)
	v.health = v.measured
	if f, ok := a.forces.InEffect(s.name, now); ok {
		v.forced = &f
		v.health = f.Override().Apply(v.measured)
	}
	return v
}

func lines(probes []*probe) ([]line, []score.Reading) {
	ls, rs := make([]line, len(probes)), make([]score.Reading, len(probes))
	for i, p := range probes {
		rs[i], ls[i].result = p.reading()
		ls[i].probe, ls[i].Reading = p, rs[i]
	}
	return ls, rs
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
		return fmt.Sprintf("no result for %s (the interval is %s); before that: %s", l.Age(now).Truncate(time.Millisecond), l.cfg.Interval, l.result.Detail)
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
			return d.display + ": " + d.detail(now)
		}
	}
	for _, m := range v.metrics {
		if !m.Well(now) {
			return m.display + ": " + m.detail(now)
		}
	}
	return "measured"
}

package service

import (
	"fmt"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/score"
)

// View is the state of one service at one moment.
type View struct {
	Name     string
	Measured int
	Fault    string       // why clients cannot reach the service here, so that Measured is 0; "": they can
	Health   int          // Measured, unless a force is in effect
	Forced   *force.Force // the force in effect; nil: none
	Checks   []Check      // Depends, then Metrics
	Depends  []Check
	Metrics  []Check
}

// Check is the state of one check.
type Check struct {
	*schedule.Job
	score.Reading
	Result *schedule.Result // nil: it has not run yet
}

func latest(j *schedule.Job) Check {
	reading, r := j.Reading()
	return Check{Job: j, Reading: reading, Result: r}
}

// Label names the check on the status page, with the figures of its latest run if it has any.
func (c Check) Label() string {
	if c.Result != nil && c.Result.Shown != "" {
		return c.Result.Shown
	}
	return c.Name
}

// Detail explains the state of the check in one line.
func (c Check) Detail(now time.Time) string {
	switch {
	case c.Result == nil:
		return "has not run yet"
	case c.Stale(now):
		age := c.Age(now).Truncate(time.Millisecond)
		return fmt.Sprintf("no result for %s (interval %s); previously: %s", age, c.Config.Interval, c.Result.Detail)
	}
	return c.Result.Detail
}

// Cause says in one line what determines the health.
func (v View) Cause(now time.Time) string {
	if v.Forced != nil && (v.Forced.Kind != score.Health || v.Forced.Value <= v.Measured) {
		return fmt.Sprintf("forced %s by %s: %s", v.Forced.Kind, v.Forced.Who, v.Forced.Reason)
	}
	if v.Fault != "" {
		return "tunnel: " + v.Fault
	}
	for _, c := range v.Checks {
		if !c.Passing(now) {
			return c.Name + ": " + c.Detail(now)
		}
	}
	return "measured"
}

// ChangesAt is when the view may change without a new result or force: when a result goes stale or the force
// expires. Zero: never.
func (v View) ChangesAt(now time.Time) (at time.Time) {
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, c := range v.Checks {
		if c.Passing(now) {
			earliest(c.StaleFrom())
		}
	}
	if v.Forced != nil {
		earliest(v.Forced.Expires)
	}
	return at
}

// ForceReport is the force in effect as in JSON; nil: none.
func (v View) ForceReport() *api.Force {
	if v.Forced == nil {
		return nil
	}
	f := v.Forced.Report()
	return &f
}

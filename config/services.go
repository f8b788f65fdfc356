package config

import (
	"errors"
	"time"
)

// A health is 0 to 100.
const (
	minMetricWeight = 0
	maxMetricWeight = 100
)

// The bounds of an interval. A typing error such as "2us" for "2s" would keep a processor busy. A check that runs less than once a week
// does not measure health, and three intervals, after which a result is stale, have to fit into a time.Duration.
const (
	minInterval = 10 * time.Millisecond
	maxInterval = 7 * 24 * time.Hour
)

// service reads [services.NAME].
func (l *loader) service(d *decoder, name string) Service {
	checkName(d, name)
	s := Service{Name: name, AgentCheck: readListener(d, "agent_check", defaultAgentCheck)}
	l.addListener(d, "agent_check", s.AgentCheck)
	for _, c := range d.tables("depends") {
		s.Depends = append(s.Depends, l.check(c, Dependency))
	}
	for _, c := range d.tables("metrics") {
		s.Metrics = append(s.Metrics, l.check(c, Metric))
	}
	d.done()
	if !d.failed("depends") && !d.failed("metrics") && len(s.Depends) == 0 && len(s.Metrics) == 0 {
		d.invalidTable("has neither depends nor metrics, so it has no health",
			`add a check, such as metrics = [ { type = "constant", weight = 100 } ]`)
	}
	return s
}

// check reads one entry of depends or metrics. The entry has its own report while the validator reads it, so that Options.Err returns
// only the entry's errors.
func (l *loader) check(d *decoder, role Role) Check {
	d.report = newReport()
	c := Check{Role: role, Options: Options{d}}
	c.Type = d.str("type", "")
	if c.Type == "" {
		required(d, "type", `name the type of check, such as type = "http"`)
	}
	c.Interval, c.Timeout = intervalAndTimeout(d, "interval", "timeout", defaultInterval, defaultTimeoutFor)
	if role == Metric {
		c.Weight = int(d.integer("weight", 0, minMetricWeight, maxMetricWeight))
		if !d.has("weight") {
			d.missing("weight", "set the most that the metric adds to the health, 0 to 100")
		}
	}
	var found error
	if l.checks != nil && c.Type != "" {
		found = l.checks(c)
	}
	own := d.report
	d.report = l.report
	for _, m := range own.diagnostics {
		l.report.add(m)
	}
	var more Diagnostics
	switch {
	case errors.As(found, &more):
		for _, m := range more {
			l.report.add(m)
		}
	case found != nil:
		d.invalidTable(found.Error(), "")
	}
	d.report = own
	return c
}

// intervalAndTimeout reads an interval and a timeout, which must be below the interval.
func intervalAndTimeout(d *decoder, intervalKey, timeoutKey string, def time.Duration,
	timeoutFor func(time.Duration) time.Duration,
) (interval, timeout time.Duration) {
	interval = d.duration(intervalKey, def)
	if interval < minInterval {
		d.invalid(intervalKey, "must be "+minInterval.String()+" or more", `use a duration such as "2s"`)
		interval = def
	}
	if interval > maxInterval {
		d.invalid(intervalKey, "must be 168h (a week) or less", `use a duration such as "2s"`)
		interval = def
	}
	timeout = d.duration(timeoutKey, timeoutFor(interval))
	switch {
	case timeout <= 0:
		d.invalid(timeoutKey, "must be above 0s", `use a duration such as "1s"`)
	case timeout >= interval && d.has(intervalKey):
		d.invalid(timeoutKey, "must be below "+intervalKey+", which is "+interval.String(),
			"shorten it, or lengthen "+intervalKey)
	case timeout >= interval:
		d.invalid(timeoutKey, "must be below "+intervalKey+", which is "+interval.String()+" by default",
			"shorten it, or set a longer "+intervalKey)
	}
	return interval, timeout
}

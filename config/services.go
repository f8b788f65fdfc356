package config

import (
	"errors"
	"time"
)

// The bounds of a metric's weight: health is 0 to 100.
const (
	weightLeast = 0
	weightMost  = 100
)

// Bounds of how often anything is checked. A slip such as "2us" for "2s" would keep a processor busy. Beyond a week it is no health any
// more; and of a century, three intervals, after which a result is stale, are more than a time.Duration holds.
const (
	intervalLeast = 10 * time.Millisecond
	intervalMost  = 7 * 24 * time.Hour
)

// service reads [services.NAME].
func (l *loader) service(d *decoder, name string) Service {
	named(d, name)
	s := Service{Name: name, AgentCheck: l.listen(d, "agent_check", defaultAgentCheck)}
	l.bind(d, "agent_check", s.AgentCheck)
	for _, c := range d.tables("depends") {
		s.Depends = append(s.Depends, l.check(c, Dependency))
	}
	for _, c := range d.tables("metrics") {
		s.Metrics = append(s.Metrics, l.check(c, Metric))
	}
	d.done()
	if !d.faulty("depends") && !d.faulty("metrics") && len(s.Depends) == 0 && len(s.Metrics) == 0 {
		d.own("has neither depends nor metrics, so it has no health",
			`give it a check, such as metrics = [ { type = "constant", weight = 100 } ]`)
	}
	return s
}

// check reads one entry of depends or metrics. Its own report keeps apart what the validator finds there.
func (l *loader) check(d *decoder, role Role) Check {
	d.report = newReport()
	c := Check{Role: role, Options: Section{d}}
	c.Type = d.str("type", "")
	if c.Type == "" {
		required(d, "type", `say which check it is, such as type = "http"`)
	}
	c.Interval, c.Timeout = pace(d, "interval", "timeout", defaultInterval, defaultTimeoutFor)
	if role == Metric {
		c.Weight = int(d.integer("weight", 0, weightLeast, weightMost))
		if !d.has("weight") {
			d.missing("weight", "say how much of the health, 0 to 100, it stands for")
		}
	}
	var found error
	if l.checks != nil && c.Type != "" {
		found = l.checks(c)
	}
	own := d.report
	d.report = l.report
	for _, m := range own.mistakes {
		l.report.add(m)
	}
	var more Mistakes
	switch {
	case errors.As(found, &more):
		for _, m := range more {
			l.report.add(m)
		}
	case found != nil:
		d.own(found.Error(), "")
	}
	d.report = own
	return c
}

// pace reads an interval and the timeout of what is done in it.
func pace(d *decoder, intervalKey, timeoutKey string, def time.Duration,
	timeoutFor func(time.Duration) time.Duration,
) (interval, timeout time.Duration) {
	interval = d.duration(intervalKey, def)
	if interval < intervalLeast {
		d.mistake(intervalKey, "must be "+intervalLeast.String()+" or more", `write it as "2s"`)
		interval = def
	}
	if interval > intervalMost {
		d.mistake(intervalKey, "must be 168h, a week, or less", `write it as "2s"`)
		interval = def
	}
	timeout = d.duration(timeoutKey, timeoutFor(interval))
	switch {
	case timeout <= 0:
		d.mistake(timeoutKey, "must be more than 0s", `write it as "1s"`)
	case timeout >= interval && d.has(intervalKey):
		d.mistake(timeoutKey, "must be below "+intervalKey+", which is "+interval.String(),
			"shorten it, or lengthen "+intervalKey)
	case timeout >= interval:
		d.mistake(timeoutKey, "must be below "+intervalKey+", which is "+interval.String()+" unless you give one",
			"shorten it, or give a longer "+intervalKey)
	}
	return interval, timeout
}

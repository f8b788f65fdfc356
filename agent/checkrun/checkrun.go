// Package checkrun runs the checks of a service once, in the foreground, to try out a configuration.
package checkrun

import (
	"cmp"
	"context"
	"time"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// Report has the results of a service's checks and the resulting health.
type Report struct {
	Name     string   `json:"name"`
	Measured int      `json:"measured"` // health without forces, 0 to 100
	Depends  []Result `json:"depends"`  // in the order of the configuration
	Metrics  []Result `json:"metrics"`
}

// Up reports whether the service would get traffic.
func (r Report) Up() bool { return r.Measured > 0 }

// Result is the result of one check.
type Result struct {
	Type    string  `json:"type"`
	Display string  `json:"display"`
	OK      bool    `json:"ok"`              // the dependency is up, or the metric could be measured
	Value   *int    `json:"value,omitempty"` // points that a metric contributes
	Weight  *int    `json:"weight,omitempty"`
	Detail  string  `json:"detail"`
	Seconds float64 `json:"seconds"` // duration of the run
	Timeout float64 `json:"timeout"` // in seconds
}

// run is one check and its future result.
type run struct {
	cfg    config.Check
	check  check.Check
	result chan outcome
}

type outcome struct {
	check.Result
	took time.Duration
}

// Run runs all checks of a service in parallel, as the agent does at its start. It calls show, which may be
// nil, with each result in the order of the configuration, as soon as possible.
func Run(ctx context.Context, service config.Service, host check.Host, show func(role config.Role, r Result)) (Report, error) {
	report := Report{Name: service.Name, Depends: []Result{}, Metrics: []Result{}}
	runs, err := prepare(service, host)
	if err != nil {
		return report, err
	}
	for _, r := range runs {
		go r.do(ctx) // ends before its result is received below
	}
	var depends, metrics []score.Reading
	for _, r := range runs {
		o := <-r.result
		reading := score.Reading{OK: o.OK, Value: o.Value, Floor: r.check.Floor(), At: time.Now(), Interval: r.cfg.Interval}
		result := Result{
			Type: r.cfg.Type, Display: cmp.Or(o.Shown, r.check.Display()), OK: o.OK, Detail: o.Detail,
			Seconds: o.took.Seconds(), Timeout: r.cfg.Timeout.Seconds(),
		}
		if r.cfg.Role == config.Dependency {
			depends, report.Depends = append(depends, reading), append(report.Depends, result)
		} else {
			value, weight := reading.Points(reading.At), r.cfg.Weight
			result.Value, result.Weight = &value, &weight
			metrics, report.Metrics = append(metrics, reading), append(report.Metrics, result)
		}
		if show != nil {
			show(r.cfg.Role, result)
		}
	}
	if err := ctx.Err(); err != nil {
		return report, err
	}
	// All results get the current time, so that none is stale however long the slowest run took.
	now := time.Now()
	for _, readings := range [][]score.Reading{depends, metrics} {
		for i := range readings {
			readings[i].At = now
		}
	}
	report.Measured = score.Measured(now, depends, metrics)
	return report, nil
}

// prepare makes the runs of a service, dependencies first.
func prepare(service config.Service, host check.Host) ([]run, error) {
	var runs []run
	for _, list := range [][]config.Check{service.Depends, service.Metrics} {
		for _, cfg := range list {
			c, err := check.New(cfg, host)
			if err != nil {
				return nil, err
			}
			runs = append(runs, run{cfg: cfg, check: c, result: make(chan outcome, 1)})
		}
	}
	return runs, nil
}

// do runs the check and delivers its result.
func (r run) do(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	start := time.Now()
	result := r.check.Run(ctx)
	r.result <- outcome{result, time.Since(start)}
}

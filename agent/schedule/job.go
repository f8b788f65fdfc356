package schedule

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// Job runs one check of one service again and again and keeps the latest result, which any goroutine may
// read. Its runs never overlap.
type Job struct {
	Service string
	Config  config.Check
	Name    string // the check's display name; check.Display builds a new string on every call

	check check.Check
	phase time.Duration // delay from the start to the second run, 1 ns to the interval

	latest   atomic.Pointer[Result] // nil until the first run has ended
	firstRun chan struct{}          // closed when the first run has ended
	counters counters

	changed func(service string) // called when a result may change the service's health; set by Scheduler.Start
	cancel  context.CancelFunc   // prevents further runs and cancels the current one; set by Scheduler.Start
	done    chan struct{}        // closed when the job is cancelled and no run is in progress

	mu        sync.Mutex // protects the fields below
	running   bool
	cancelled bool
}

// Result is the outcome of one run.
type Result struct {
	check.Result
	At   time.Time     // when the run ended
	Took time.Duration // how long it ran
}

// counters count runs since the job was created.
type counters struct {
	runs, failures atomic.Uint64 // failures are included in runs
	timeouts       atomic.Uint64 // included in failures
}

// Counts are the runs of a job since it was created.
type Counts struct {
	Runs     uint64
	Failures uint64 // included in Runs
	Timeouts uint64 // included in Failures
}

// NewJob returns a job that has not run yet. index distinguishes identical checks of one service, so that their
// phases differ.
func NewJob(service string, cfg config.Check, c check.Check, hostname string, index int) *Job {
	name := c.Display()
	return &Job{
		Service: service, Config: cfg, Name: name, check: c,
		phase:    phase(cfg.Interval, hostname, service, string(cfg.Role), name, strconv.Itoa(index)),
		changed:  func(string) {},
		firstRun: make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// Matches reports whether the job does exactly what cfg asks for, so that a reload can keep it and its result.
func (j *Job) Matches(service string, cfg config.Check) bool {
	return j.Service == service && j.Config.Role == cfg.Role && j.Config.Type == cfg.Type && j.Config.Interval == cfg.Interval &&
		j.Config.Timeout == cfg.Timeout && j.Config.Weight == cfg.Weight && j.Config.Options.Equal(cfg.Options)
}

// Latest is the result of the latest run, nil before the first one has ended.
func (j *Job) Latest() *Result { return j.latest.Load() }

// Reading returns the latest result and its input to the score.
func (j *Job) Reading() (score.Reading, *Result) {
	reading := score.Reading{Interval: j.Config.Interval, Floor: j.check.Floor()}
	r := j.latest.Load()
	if r != nil {
		reading.OK, reading.Value, reading.At = r.OK, r.Value, r.At
	}
	return reading, r
}

// Counts reads the counters.
func (j *Job) Counts() Counts {
	return Counts{Runs: j.counters.runs.Load(), Failures: j.counters.failures.Load(), Timeouts: j.counters.timeouts.Load()}
}

// RunOnce runs the check and keeps the result, unless ctx ended meanwhile: an interrupted run says nothing
// about the service.
func (j *Job) RunOnce(ctx context.Context, log *slog.Logger) {
	limited := ctx
	if !check.OnlyReads(j.check) {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, j.Config.Timeout)
		defer cancel()
	}
	started := time.Now()
	r := j.check.Run(limited)
	if ctx.Err() != nil {
		return
	}
	j.count(r, limited.Err() != nil)
	now := time.Now()
	old, before := j.Reading()
	j.latest.Store(&Result{Result: r, At: now, Took: now.Sub(started)})
	if reading, _ := j.Reading(); before == nil || old.Passing(now) != reading.Passing(now) || old.Value != reading.Value {
		j.changed(j.Service)
	}
	switch {
	case before == nil && r.OK, before != nil && before.OK == r.OK:
	case r.OK:
		log.Info("check recovered", "service", j.Service, "check", j.Name, "cause", r.Detail)
	default:
		log.Warn("check failed", "service", j.Service, "check", j.Name, "cause", r.Detail)
	}
}

func (j *Job) count(r check.Result, timedOut bool) {
	j.counters.runs.Add(1)
	if !r.OK {
		j.counters.failures.Add(1)
		if timedOut {
			j.counters.timeouts.Add(1)
		}
	}
}

// start hands a run to the pool, unless the previous one is still in progress. It returns false once the job
// is cancelled.
func (j *Job) start(ctx context.Context, pool *pool, log *slog.Logger) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.cancelled && !j.running {
		j.running = true
		pool.run(task{j, ctx, log})
	}
	return !j.cancelled
}

// run is the work of one task of the pool.
func (j *Job) run(ctx context.Context, log *slog.Logger) {
	j.RunOnce(ctx, log)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running = false
	select {
	case <-j.firstRun:
	default:
		close(j.firstRun)
	}
	if j.cancelled {
		close(j.done)
	}
}

// stop prevents further runs. A run in progress is left to its context.
func (j *Job) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.cancelled && !j.running {
		close(j.done)
	}
	j.cancelled = true
}

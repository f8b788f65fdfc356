package agent

import (
	"context"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// probe is one check of one service with its latest result, which any goroutine may read. There are never two runs at once.
type probe struct {
	service string
	cfg     config.Check
	check   check.Check
	display string        // the check's name, which it makes anew each time that it is asked
	phase   time.Duration // from the start to the second run, within 1 ns to the interval

	latest atomic.Pointer[result] // nil until the first run has ended
	ran    chan struct{}          // closed when the first run has ended

	tally tally

	changed func(service string) // told when a result differs from the one before in what the health is made of; set by start
	cancel  context.CancelFunc   // lets no run begin any more, and ends the one that goes on; set by start
	done    chan struct{}        // closed when it is cancelled and no run goes on

	mu      sync.Mutex // protects what follows
	running bool
	ended   bool // it was cancelled
}

// result is what the latest run found, and when it ended.
type result struct {
	check.Result
	at   time.Time
	took time.Duration
}

// tally counts runs since the start, or since the reload that brought the check.
type tally struct {
	runs, failures atomic.Uint64 // failures are among the runs
	timeouts       atomic.Uint64 // these are among the failures
}

// newProbe makes a probe; nth tells apart equal checks of one service.
func newProbe(service string, cfg config.Check, c check.Check, hostname string, nth int) *probe {
	display := c.Display()
	return &probe{
		service: service, cfg: cfg, check: c, display: display,
		phase: phase(cfg.Interval, hostname, service, string(cfg.Role), display, strconv.Itoa(nth)),
		ran:   make(chan struct{}),
		done:  make(chan struct{}),
	}
}

// grain is the step of phases. Checks that fall together wake the processor up once; each waking costs as much as a short check.
const grain = 200 * time.Millisecond

// phase spreads checks over their interval by what they look at and where from, so that neither the checks of a machine nor the
// machines of a fleet that started together move in step. Where the interval has room for steps, it is a multiple of grain.
func phase(interval time.Duration, about ...string) time.Duration {
	h := fnv.New64a()
	for _, s := range about {
		h.Write([]byte(s)) // a hash never fails
		h.Write([]byte{0})
	}
	p := 1 + time.Duration(h.Sum64()%uint64(interval))
	if interval < 5*grain {
		return p
	}
	return min(interval, (p + grain - 1).Truncate(grain))
}

// same tells whether the probe does what cfg asks for, so that a reload may keep it with its result.
func (p *probe) same(service string, cfg config.Check) bool {
	return p.service == service && p.cfg.Role == cfg.Role && p.cfg.Type == cfg.Type && p.cfg.Interval == cfg.Interval &&
		p.cfg.Timeout == cfg.Timeout && p.cfg.Weight == cfg.Weight && p.cfg.Options.Equal(cfg.Options)
}

// begin has the crew begin a run, which p.done waits for, and tells whether there will be further ones. A run that is due while another
// one is still going is left out.
func (p *probe) begin(ctx context.Context, by *crew, log *slog.Logger) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended && !p.running {
		p.running = true
		by.run(task{p, ctx, log})
	}
	return !p.ended
}

func (p *probe) run(ctx context.Context, log *slog.Logger) {
	p.once(ctx, log)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
	select {
	case <-p.ran:
	default:
		close(p.ran)
	}
	if p.ended {
		close(p.done)
	}
}

// end lets no run begin any more.
func (p *probe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended && !p.running {
		close(p.done)
	}
	p.ended = true
}

// once runs the check and keeps the result. A run that the end of the agent cut short says nothing, and is not kept.
func (p *probe) once(ctx context.Context, log *slog.Logger) {
	limited := ctx
	if !check.OnlyReads(p.check) {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, p.cfg.Timeout)
		defer cancel()
	}
	begun := time.Now()
	r := p.check.Run(limited)
	if ctx.Err() != nil {
		return
	}
	p.count(r, limited.Err() != nil)
	now := time.Now()
	was, before := p.reading()
	p.latest.Store(&result{Result: r, at: now, took: now.Sub(begun)})
	if is, _ := p.reading(); before == nil || was.Well(now) != is.Well(now) || was.Value != is.Value {
		p.changed(p.service)
	}
	switch {
	case before == nil && r.OK, before != nil && before.OK == r.OK:
	case r.OK:
		log.Info("check is well again", "service", p.service, "check", p.display, "cause", r.Detail)
	default:
		log.Warn("check fails", "service", p.service, "check", p.display, "cause", r.Detail)
	}
}

func (p *probe) count(r check.Result, timedOut bool) {
	p.tally.runs.Add(1)
	if !r.OK {
		p.tally.failures.Add(1)
		if timedOut {
			p.tally.timeouts.Add(1)
		}
	}
}

// reading is the latest result as the score reads it.
func (p *probe) reading() (score.Reading, *result) {
	s := score.Reading{Interval: p.cfg.Interval, Floor: p.check.Floor()}
	r := p.latest.Load()
	if r != nil {
		s.OK, s.Value, s.At = r.OK, r.Value, r.at
	}
	return s, r
}

// settle waits until every probe has a result, for the given time at most.
func settle(ctx context.Context, most time.Duration, probes []*probe) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for _, p := range probes {
		select {
		case <-p.ran:
		case <-ctx.Done():
			return
		}
	}
}

// await waits until cancelled probes have ended, for stopTime at most: a process that the kernel cannot end (a dead NFS server
// behind it) must not hold up the agent.
func (a *Agent) await(probes []*probe) {
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	for _, p := range probes {
		p.cancel()
	}
	for _, p := range probes {
		select {
		case <-p.done:
		case <-timer.C:
			a.log.Error("a check does not end; it is left behind", "service", p.service, "check", p.display)
			return
		}
	}
}

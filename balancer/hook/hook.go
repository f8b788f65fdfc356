// Package hook hands a balancer's events on, each hook in the events' order: to a program, to a web server, or to Nagios.
package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/config"
)

const (
	// leaveTime is how long a hook may go on with what is left when lb balance ends, or the hook leaves the config.
	leaveTime = 5 * time.Second
	// tries is how often a delivery is tried that another try may help.
	tries = 5
	// firstPause is waited after the first failure, twice as long after each further one.
	firstPause = time.Second
	// maxSaid bounds what a program or a server said, in the log, in bytes.
	maxSaid = 200
)

// errUseless wraps failures that another try would repeat.
var errUseless = errors.New("not tried again")

// Counts are what became of a hook's events.
type Counts struct{ Delivered, Failed, Lost uint64 }

// sender hands events on in one way. It is used by one goroutine.
type sender interface {
	// take hands on the events of a batch, through deliver.
	take(ctx context.Context, events []event.Event, deliver deliver)
}

// deliver runs one delivery of so many events until it succeeds or is given up, and says which.
type deliver func(ctx context.Context, events int, send func(ctx context.Context) error) bool

// Hook is one of the config, running.
type Hook struct {
	cfg    config.Hook
	log    *slog.Logger
	sender sender
	most   int    // tries of a delivery
	late   uint64 // events that nobody tried to deliver, for the hook had to end

	delivered, failed, lost atomic.Uint64
}

func newHook(cfg config.Hook, log *slog.Logger) *Hook {
	h := &Hook{cfg: cfg, log: log.With("hook", cfg.Name), most: tries}
	switch cfg.Type {
	case config.Webhook:
		h.sender = newWebhook(cfg)
	case config.NSCA:
		h.sender = &nsca{cfg: cfg, last: map[string]result{}}
	default:
		h.sender, h.most = &command{cfg: cfg, log: h.log}, 1 // a program that failed half-way may not bear a second run
	}
	return h
}

// run hands on the events after a number until ctx ends, and then what is left, as far as leaveTime goes.
func (h *Hook) run(ctx context.Context, events *journal.Journal, after uint64) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(leaveTime, cancel) })()
	for last := false; !last; {
		batch, missed, err := events.Wait(ctx, after)
		if err != nil {
			last = true
			batch, missed = events.Since(after)
		}
		if missed > 0 {
			h.lost.Add(missed)
			h.log.Error("a hook is so slow that events were lost for it: speed it up, or give it fewer kinds", "lost", missed)
		}
		if len(batch) > 0 {
			after = batch[len(batch)-1].Number
		}
		batch = slices.DeleteFunc(batch, func(e event.Event) bool { return !h.wants(e) })
		if len(batch) > 0 {
			h.sender.take(work, batch, h.deliver)
		}
	}
	if h.late > 0 {
		h.log.Error("a hook had to end before it was done: events were lost for it", "lost", h.late)
	}
}

func (h *Hook) wants(e event.Event) bool {
	return (len(h.cfg.Events) == 0 || slices.Contains(h.cfg.Events, e.Kind)) &&
		(len(h.cfg.Clusters) == 0 || e.Cluster == "" || slices.Contains(h.cfg.Clusters, e.Cluster))
}

// deliver is the way of all senders to try again.
func (h *Hook) deliver(ctx context.Context, events int, send func(context.Context) error) bool {
	if ctx.Err() != nil {
		h.late += uint64(events)
		h.lost.Add(uint64(events))
		return false
	}
	pause := firstPause
	for try := 1; ; try++ {
		err := h.try(ctx, send)
		if err == nil {
			h.delivered.Add(uint64(events))
			return true
		}
		if try >= h.most || errors.Is(err, errUseless) || !waits(ctx, pause) {
			h.failed.Add(uint64(events))
			h.log.Error("a hook has failed", "events", events, "tries", try, "err", err)
			return false
		}
		pause *= 2
	}
}

// waits tells whether ctx lasts that long.
func waits(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *Hook) try(ctx context.Context, send func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.cfg.Timeout, fmt.Errorf("no end within its timeout of %s", h.cfg.Timeout))
	defer cancel()
	return send(ctx)
}

// Set is all hooks of the config. It is used by one goroutine at a time, but for Counts.
type Set struct {
	events  *journal.Journal
	log     *slog.Logger
	running sync.WaitGroup

	mu    sync.Mutex // protects hooks
	hooks map[string]started
}

type started struct {
	*Hook
	stop context.CancelFunc
}

// NewSet makes a set without hooks.
func NewSet(events *journal.Journal, log *slog.Logger) *Set {
	return &Set{events: events, log: log, hooks: map[string]started{}}
}

// Configure makes the hooks those of a config: one that is as it was goes on, another begins with the events from now on.
func (s *Set) Configure(hooks []config.Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]started{}
	for _, cfg := range hooks {
		if old, ok := s.hooks[cfg.Name]; ok && old.cfg.Equal(cfg) {
			next[cfg.Name] = old
			delete(s.hooks, cfg.Name)
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		h := started{newHook(cfg, s.log), stop}
		next[cfg.Name] = h
		after := s.events.Last()
		s.running.Go(func() { h.run(ctx, s.events, after) })
	}
	for _, h := range s.hooks {
		h.stop()
	}
	s.hooks = next
}

// Stop ends all hooks, which hand on what is left within a few seconds.
func (s *Set) Stop() {
	s.Configure(nil)
	s.running.Wait()
}

// Counts gives what became of the events, by hook.
func (s *Set) Counts() map[string]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]Counts{}
	for name, h := range s.hooks {
		counts[name] = Counts{Delivered: h.delivered.Load(), Failed: h.failed.Load(), Lost: h.lost.Load()}
	}
	return counts
}

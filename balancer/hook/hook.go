// Package hook delivers a balancer's events to hooks: programs, web servers, and Nagios.
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
	// shutdownTime is how long a hook may go on delivering when lb balance stops, or a reload removes the hook.
	shutdownTime = 5 * time.Second
	// maxTries is how often a delivery is tried if another try may succeed.
	maxTries = 5
	// firstBackoff is the pause after the first failure. It doubles with each further one.
	firstBackoff = time.Second
	// maxOutput is how much of the output of a program, or of a server's response, is logged, in bytes.
	maxOutput = 200
)

// errPermanent wraps failures that another try would repeat.
var errPermanent = errors.New("not retried")

// sender is one way to deliver events. It is used by one goroutine.
type sender interface {
	// send delivers a batch of events by calls of deliver.
	send(ctx context.Context, events []event.Event, deliver deliverFunc)
}

// deliverFunc calls send until it succeeds or is given up, counts the outcome for that many events, and reports whether it succeeded.
type deliverFunc func(ctx context.Context, events int, send func(ctx context.Context) error) bool

// worker runs one hook of the config.
type worker struct {
	cfg         config.Hook
	log         *slog.Logger
	sender      sender
	maxTries    int    // of a delivery
	undelivered uint64 // events never tried because shutdownTime was over

	delivered, failed, lost atomic.Uint64
}

func newWorker(cfg config.Hook, log *slog.Logger) *worker {
	w := &worker{cfg: cfg, log: log.With("hook", cfg.Name), maxTries: maxTries}
	switch cfg.Type {
	case config.Webhook:
		w.sender = newWebhook(cfg)
	case config.NSCA:
		w.sender = &nsca{cfg: cfg, last: map[string]result{}}
	default:
		w.sender, w.maxTries = &command{cfg: cfg, log: w.log}, 1 // a program that failed half-way may not tolerate a second run
	}
	return w
}

// run delivers the events after a number until ctx ends, and then the remaining ones within shutdownTime.
func (w *worker) run(ctx context.Context, events *journal.Journal, after uint64) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(shutdownTime, cancel) })()
	for last := false; !last; {
		batch, missed, err := events.Wait(ctx, after)
		if err != nil {
			last = true
			batch, missed = events.Since(after)
		}
		if missed > 0 {
			w.lost.Add(missed)
			w.log.Error("events lost: the hook is too slow; speed it up or subscribe it to fewer events", "lost", missed)
		}
		if len(batch) > 0 {
			after = batch[len(batch)-1].Number
		}
		batch = slices.DeleteFunc(batch, func(e event.Event) bool { return !w.subscribed(e) })
		if len(batch) > 0 {
			w.sender.send(work, batch, w.deliver)
		}
	}
	if w.undelivered > 0 {
		w.log.Error("events lost: the hook was stopped before it had delivered them", "lost", w.undelivered)
	}
}

// subscribed reports whether the config sends an event to this hook.
func (w *worker) subscribed(e event.Event) bool {
	return (len(w.cfg.Events) == 0 || slices.Contains(w.cfg.Events, e.Kind)) &&
		(len(w.cfg.Clusters) == 0 || e.Cluster == "" || slices.Contains(w.cfg.Clusters, e.Cluster))
}

// deliver implements deliverFunc.
func (w *worker) deliver(ctx context.Context, events int, send func(context.Context) error) bool {
	if ctx.Err() != nil {
		w.undelivered += uint64(events)
		w.lost.Add(uint64(events))
		return false
	}
	backoff := firstBackoff
	for try := 1; ; try++ {
		err := w.try(ctx, send)
		if err == nil {
			w.delivered.Add(uint64(events))
			return true
		}
		if try >= w.maxTries || errors.Is(err, errPermanent) || !sleep(ctx, backoff) {
			w.failed.Add(uint64(events))
			w.log.Error("hook failed", "events", events, "tries", try, "err", err)
			return false
		}
		backoff *= 2
	}
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *worker) try(ctx context.Context, send func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.cfg.Timeout, fmt.Errorf("not finished within its timeout of %s", w.cfg.Timeout))
	defer cancel()
	return send(ctx)
}

// Set runs the hooks of the config. It is used by one goroutine at a time, except for Counts.
type Set struct {
	events  *journal.Journal
	log     *slog.Logger
	running sync.WaitGroup

	mu    sync.Mutex // protects hooks
	hooks map[string]runningWorker
}

type runningWorker struct {
	*worker
	stop context.CancelFunc
}

// NewSet returns a set without hooks.
func NewSet(events *journal.Journal, log *slog.Logger) *Set {
	return &Set{events: events, log: log, hooks: map[string]runningWorker{}}
}

// Configure replaces the hooks. An unchanged hook continues; a new or changed one starts with the next event.
func (s *Set) Configure(hooks []config.Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]runningWorker{}
	for _, cfg := range hooks {
		if old, ok := s.hooks[cfg.Name]; ok && old.cfg.Equal(cfg) {
			next[cfg.Name] = old
			delete(s.hooks, cfg.Name)
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		w := runningWorker{newWorker(cfg, s.log), stop}
		next[cfg.Name] = w
		after := s.events.Last()
		s.running.Go(func() { w.run(ctx, s.events, after) })
	}
	for _, w := range s.hooks {
		w.stop()
	}
	s.hooks = next
}

// Stop stops all hooks and waits: they deliver the remaining events within a few seconds.
func (s *Set) Stop() {
	s.Configure(nil)
	s.running.Wait()
}

// Counts returns the counts of each hook by its name.
func (s *Set) Counts() map[string]journal.Deliveries {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]journal.Deliveries{}
	for name, w := range s.hooks {
		counts[name] = journal.Deliveries{Delivered: w.delivered.Load(), Failed: w.failed.Load(), Lost: w.lost.Load()}
	}
	return counts
}

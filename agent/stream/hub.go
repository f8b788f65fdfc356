// Package stream sends the health of services to subscribed clients: the current health or the missed events
// first, then every change.
package stream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/braintree/lb/agent/service"
)

const (
	// maxRecent is how many events of a service are kept for clients that reconnect, and how far an open
	// stream may lag behind.
	maxRecent = 32

	// maxWait is how long Run sleeps if no change is due.
	maxWait = time.Minute
)

// Reasons why a stream is refused or ends.
var (
	ErrNoService   = errors.New("there is no such service")
	errTooMany     = errors.New("too many streams are open: poll GET /SERVICE/status, or try again later")
	errClosed      = errors.New("the agent is starting or stopping: try again")
	errRemoved     = errors.New("the service was removed from the configuration")
	errStopping    = errors.New("the agent is stopping")
	errSlowReading = errors.New("the client reads too slowly")
)

// Hub publishes every change of a service to its subscriptions, in order. It does not poll: the code that
// makes a change calls Refresh. The zero value refuses subscriptions until Open.
type Hub struct {
	mu     sync.Mutex // protects the fields below and orders events; never held while writing to a client
	find   func(service string, now time.Time) (service.View, bool)
	run    string // random prefix of the event ids of this run of the agent; "" while closed
	seq    uint64 // number of the latest event, across all services
	topics map[string]*topic
	wakeAt time.Time     // when Run next looks for due changes; zero: not known yet
	wake   chan struct{} // wakes Run because wakeAt is too late; buffers one

	opened  time.Time // shared heartbeats count from here
	perHour int64     // heartbeats of all streams
	counts  Counts
}

// Counts are for metrics.
type Counts struct {
	Open                          int    // subscriptions now
	Opened, Refused, Slow, Events uint64 // since the start
}

// Quota limits the subscriptions of one listener. The hub's mutex protects it.
type Quota struct {
	Max  int
	open int
}

// Open accepts subscriptions from now on. Run must follow.
func (h *Hub) Open(find func(service string, now time.Time) (service.View, bool)) {
	run := make([]byte, 4)
	rand.Read(run) // never fails
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened = time.Now()
	h.find, h.run, h.topics, h.wake = find, hex.EncodeToString(run), map[string]*topic{}, make(chan struct{}, 1)
}

// Run publishes changes that are due at a certain time, such as the expiry of a force, until ctx ends. Then it ends
// all streams and accepts no more.
func (h *Hub) Run(ctx context.Context) {
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			h.close()
			return
		case <-h.wake:
		case <-timer.C:
		}
		timer.Reset(h.refreshDue(time.Now()))
	}
}

func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		h.endAll(t, errStopping)
	}
	h.run, h.topics = "", nil
}

// refreshDue publishes the changes that are due, and returns the time until the next one.
func (h *Hub) refreshDue(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeAt = now.Add(maxWait)
	for _, name := range slices.Sorted(maps.Keys(h.topics)) {
		t := h.topics[name]
		if !t.changesAt.IsZero() && !t.changesAt.After(now) {
			h.refresh(name, now)
		}
		if !t.changesAt.IsZero() && t.changesAt.Before(h.wakeAt) {
			h.wakeAt = t.changesAt
		}
	}
	return h.wakeAt.Sub(now)
}

// Refresh publishes the state of a service if it has changed. Call it after every change of a result or a force.
func (h *Hub) Refresh(service string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[service] != nil { // otherwise nobody has subscribed to it yet
		h.refresh(service, time.Now())
	}
}

// RefreshAll refreshes every service, after a change of a force on all of them and after a reload.
func (h *Hub) RefreshAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(h.topics)) {
		h.refresh(name, now)
	}
}

// refresh compares a service with what was published last. The caller holds mu.
func (h *Hub) refresh(name string, now time.Time) {
	t := h.topics[name]
	v, ok := h.find(name, now)
	if !ok {
		if t != nil {
			h.endAll(t, errRemoved)
			delete(h.topics, name)
		}
		return
	}
	if t == nil {
		t = &topic{subscriptions: map[*Subscription]bool{}}
		h.topics[name] = t
	}
	t.changesAt = v.ChangesAt(now)
	if !t.changesAt.IsZero() && (h.wakeAt.IsZero() || t.changesAt.Before(h.wakeAt)) {
		select {
		case h.wake <- struct{}{}:
		default: // Run has not received the previous one yet
		}
	}
	if len(t.recent) > 0 && t.state == stateOf(v) {
		return
	}
	t.state = stateOf(v)
	h.publish(t, v, now)
}

// publish appends an event and queues it for the subscriptions. The caller holds mu.
func (h *Hub) publish(t *topic, v service.View, now time.Time) {
	h.seq++
	h.counts.Events++
	e := event{h.seq, frame(v, h.run, h.seq, now)}
	if len(t.recent) == maxRecent {
		t.recent = slices.Delete(t.recent, 0, 1)
	}
	t.recent = append(t.recent, e)
	for s := range t.subscriptions {
		select {
		case s.frames <- e.frame:
		default:
			h.counts.Slow++
			h.end(t, s, errSlowReading)
		}
	}
}

// Subscribe opens a stream and returns its first events: those after lastID if they are still kept, otherwise the
// current health. The caller must call Unsubscribe. An error other than ErrNoService is
// temporary.
func (h *Hub) Subscribe(service, lastID string, quota *Quota) (*Subscription, []byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.run == "" {
		h.counts.Refused++
		return nil, nil, errClosed
	}
	h.refresh(service, time.Now())
	t := h.topics[service]
	if t == nil {
		return nil, nil, ErrNoService
	}
	if quota.open >= quota.Max {
		h.counts.Refused++
		return nil, nil, errTooMany
	}
	s := &Subscription{service: service, quota: quota, frames: make(chan []byte, maxRecent), ended: make(chan struct{})}
	t.subscriptions[s] = true
	quota.open++
	h.counts.Open++
	h.counts.Opened++
	return s, t.since(h.run, lastID), nil
}

// Unsubscribe ends a stream, unless it has ended already.
func (h *Hub) Unsubscribe(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[s.service]; t != nil && t.subscriptions[s] {
		h.end(t, s, nil)
	}
}

// end removes a subscription from its topic. The caller holds mu.
func (h *Hub) end(t *topic, s *Subscription, cause error) {
	s.cause = cause
	close(s.ended)
	delete(t.subscriptions, s)
	s.quota.open--
	h.perHour -= s.perHour
	h.counts.Open--
}

func (h *Hub) endAll(t *topic, cause error) {
	for s := range t.subscriptions {
		h.end(t, s, cause)
	}
}

// Counts reads the counters.
func (h *Hub) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

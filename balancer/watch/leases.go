package watch

import (
	"context"
	"sync"
	"time"
)

// HeartbeatMonitor looks after the streams whose heartbeats the kernel holds back: one goroutine sees whether some have come, at moments that all streams share,
// every half lease, so that any number of them costs one wake-up then. A stream's own goroutine sleeps until its lease is over.
type HeartbeatMonitor struct {
	sooner chan struct{} // gets a value when something is due before Run expects it

	mu   sync.Mutex // protects what follows
	due  map[*holding]time.Time
	next time.Time // the first of due; zero: there is none
}

// NewHeartbeatMonitor returns one that looks after nothing yet.
func NewHeartbeatMonitor() *HeartbeatMonitor {
	return &HeartbeatMonitor{sooner: make(chan struct{}, 1), due: map[*holding]time.Time{}}
}

// Run looks after streams until ctx ends.
func (l *HeartbeatMonitor) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var ripe []*holding
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.sooner:
		case <-timer.C:
			ripe = l.ripe(ripe[:0])
			for _, h := range ripe {
				l.again(h, h.check())
			}
		}
		if next := l.first(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// ripe appends those that are due.
func (l *HeartbeatMonitor) ripe(to []*holding) []*holding {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for h, at := range l.due {
		if !at.After(now) {
			to = append(to, h)
		}
	}
	return to
}

// again has a stream that was checked checked again then; the zero time is never.
func (l *HeartbeatMonitor) again(h *holding, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch _, still := l.due[h]; {
	case at.IsZero():
		delete(l.due, h)
	case still:
		l.due[h] = at
	}
}

// first finds out what is due first.
func (l *HeartbeatMonitor) first() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = time.Time{}
	for _, at := range l.due {
		if l.next.IsZero() || at.Before(l.next) {
			l.next = at
		}
	}
	return l.next
}

// add has a stream looked after that was heard of just now. One that is so already is checked too early rather than too late.
func (l *HeartbeatMonitor) add(h *holding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.due[h]; there {
		return
	}
	now := time.Now()
	at := h.moment(now, now)
	l.due[h] = at
	if !l.next.IsZero() && !at.Before(l.next) {
		return
	}
	l.next = at
	select {
	case l.sooner <- struct{}{}:
	default: // Run is about to look
	}
}

// drop has a stream looked after no longer.
func (l *HeartbeatMonitor) drop(h *holding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.due, h)
}

// AlignDown is the last moment by the clock, not after t, that is a multiple of step. What is to happen once in a while happens then, so that all of it costs
// one wake-up.
func AlignDown(t time.Time, step time.Duration) time.Time {
	return t.Add(-time.Duration(t.UnixNano() % int64(step)))
}

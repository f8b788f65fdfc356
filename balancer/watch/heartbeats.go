package watch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// HeartbeatMonitor checks parked streams for heartbeats. One goroutine does so for all of them, at common times twice per heartbeat
// timeout, so that any number of streams costs one wake-up; the streams' own goroutines sleep.
type HeartbeatMonitor struct {
	wake  chan struct{} // receives a value when a check is due before Run expects one
	fleet atomic.Int64  // budgetedHeartbeat of the streams to expect

	mu   sync.Mutex // protects the fields below
	due  map[*parking]time.Time
	next time.Time // the earliest in due; zero: due is empty
}

// NewHeartbeatMonitor returns a monitor without streams.
func NewHeartbeatMonitor() *HeartbeatMonitor {
	m := &HeartbeatMonitor{wake: make(chan struct{}, 1), due: map[*parking]time.Time{}}
	m.Expect(1)
	return m
}

// Expect sets how many streams there can be, which limits how often each has a heartbeat. Open streams follow.
func (m *HeartbeatMonitor) Expect(streams int) { m.fleet.Store(int64(budgetedHeartbeat(streams))) }

// fleetHeartbeat is the interval between heartbeats that all streams can have.
func (m *HeartbeatMonitor) fleetHeartbeat() time.Duration { return time.Duration(m.fleet.Load()) }

// Run checks streams until ctx ends.
func (m *HeartbeatMonitor) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due []dueCheck
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
			due = m.appendDue(due[:0])
			for _, d := range due {
				m.reschedule(d.of, d.of.check(d.late))
			}
		}
		if next := m.earliest(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// dueCheck is a check that is due since a while.
type dueCheck struct {
	of   *parking
	late time.Duration
}

func (m *HeartbeatMonitor) appendDue(to []dueCheck) []dueCheck {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for p, at := range m.due {
		if !at.After(now) {
			to = append(to, dueCheck{p, now.Sub(at)})
		}
	}
	return to
}

// reschedule sets the next check of a stream, unless it was removed meanwhile. The zero time removes it.
func (m *HeartbeatMonitor) reschedule(p *parking, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch _, ok := m.due[p]; {
	case at.IsZero():
		delete(m.due, p)
	case ok:
		m.due[p] = at
	}
}

// earliest updates and returns next.
func (m *HeartbeatMonitor) earliest() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = time.Time{}
	for _, at := range m.due {
		if m.next.IsZero() || at.Before(m.next) {
			m.next = at
		}
	}
	return m.next
}

// add starts to check a stream that has just received something. A stream that is there already keeps its check: it is early rather
// than late.
func (m *HeartbeatMonitor) add(p *parking) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.due[p]; ok {
		return
	}
	now := time.Now()
	at := p.nextCheck(now, now)
	m.due[p] = at
	if !m.next.IsZero() && !at.Before(m.next) {
		return
	}
	m.next = at
	select {
	case m.wake <- struct{}{}:
	default: // Run has not received the last one yet
	}
}

func (m *HeartbeatMonitor) remove(p *parking) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.due, p)
}

// AlignDown returns the latest multiple of step on the wall clock that is not after t. Periodic work that is aligned this way shares
// its wake-ups.
func AlignDown(t time.Time, step time.Duration) time.Time {
	return t.Add(-time.Duration(t.UnixNano() % int64(step)))
}

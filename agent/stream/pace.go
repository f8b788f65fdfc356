package stream

import "time"

const (
	// heartbeatCost is the processor time of sending one heartbeat: docs/performance.md has the measurement.
	heartbeatCost = 40 * time.Microsecond
	// coresPerBudget: the heartbeats of all streams may cost one core in this many, which is 2 %.
	coresPerBudget = 50
	// budget is how many heartbeats per hour all streams together may have, unless their clients accept no fewer.
	budget = int64(time.Hour / (coresPerBudget * heartbeatCost))
)

// grant returns the interval between a stream's heartbeats: as asked while all streams together stay within the budget, else as long as
// necessary, but no longer than slowest. perHour is how many heartbeats the other streams have.
func grant(asked, slowest time.Duration, perHour int64) time.Duration {
	left := budget - perHour
	if left <= 0 {
		return slowest
	}
	least := (time.Hour/time.Duration(left) + time.Millisecond - 1).Truncate(time.Millisecond) // readable in X-Heartbeat
	return max(asked, min(least, slowest))
}

// Pace decides about the interval between the heartbeats of a stream, and returns it. The client asked for one, and accepts any up to
// slowest. Where it leaves the agent the choice, streams of the same interval have their heartbeats at the same moments: one wake-up
// serves many. It must be called once, before Send.
func (h *Hub) Pace(s *Subscription, asked, slowest time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.pace, s.next = asked, func(now time.Time) time.Time { return now.Add(s.pace) }
	if slowest > asked {
		s.pace = grant(asked, slowest, h.perHour)
		opened := h.opened
		s.next = func(now time.Time) time.Time { return now.Add(s.pace - now.Sub(opened)%s.pace) }
	}
	if t := h.topics[s.service]; t != nil && t.subscriptions[s] {
		s.perHour = int64(time.Hour / s.pace)
		h.perHour += s.perHour
	}
	return s.pace
}

package stream

import (
	"errors"
	"time"

	"github.com/braintree/lb/netx/sse"
)

// Subscription is one client's stream. Its handler's goroutine owns it and receives what to send.
type Subscription struct {
	service string
	quota   *Quota
	frames  chan []byte
	ended   chan struct{} // closed when no more frames come
	cause   error         // why; set before ended is closed

	pace    time.Duration                 // between two heartbeats
	next    func(now time.Time) time.Time // when the next heartbeat is due
	perHour int64                         // heartbeats that count towards the budget; the hub's mutex protects it
}

// Send writes events and, as Pace decided, heartbeats, until the stream ends, the client disconnects, or a write
// fails or times out. A failed write needs no report: the client is gone.
func (s *Subscription) Send(disconnected <-chan struct{}, to *sse.Stream) {
	heartbeat := time.NewTimer(s.untilNext())
	defer heartbeat.Stop()
	for {
		var next []byte
		select {
		case next = <-s.frames:
			heartbeat.Reset(s.untilNext())
		case <-heartbeat.C:
			heartbeat.Reset(s.untilNext())
			next = []byte(sse.Heartbeat)
		case <-disconnected:
			return
		case <-s.ended:
			s.finish(to)
			return
		}
		if _, err := to.Write(next); err != nil {
			return
		}
	}
}

func (s *Subscription) untilNext() time.Duration {
	now := time.Now()
	return s.next(now).Sub(now)
}

// finish writes the remaining events and the reason for the end. A client that reads too slowly is cut off without.
func (s *Subscription) finish(to *sse.Stream) {
	if errors.Is(s.cause, errSlowReading) {
		return
	}
	for {
		select {
		case next := <-s.frames:
			if _, err := to.Write(next); err != nil {
				return
			}
		default:
			// A client that is gone too needs no reason.
			_, _ = to.Write(sse.Frame("", "end", s.cause.Error()))
			return
		}
	}
}

// Package sse answers requests with streams of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
package sse

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// UsualPace is how often a stream without events shows that the daemon lives, unless the client asks for another between the
	// two others. Clients may take it for a lease: after three of them without a byte the daemon, or the way to it, is gone.
	DefaultHeartbeat = time.Second
	quickestPace     = 100 * time.Millisecond // ten a second cost a daemon less than ten polls do
	slowestPace      = time.Minute            // routers on the way forget connections that are quiet for longer

	// Heartbeat is what it then sends: a comment.
	Heartbeat = ": heartbeat\n\n"
	// WriteTime is how long a client may take to make room for what is sent at once.
	WriteTimeout = 5 * time.Second
	// RetryTime is when clients come back after the end of a stream, or after a refusal.
	RetryDelay = time.Second
)

// Stream is one that has begun. It is used by one goroutine.
type Stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// Pace reads the time between two heartbeats that a client asks for; without heartbeat in the query it is the usual.
func HeartbeatInterval(r *http.Request) (time.Duration, error) {
	asked := r.URL.Query().Get("heartbeat")
	if asked == "" {
		return DefaultHeartbeat, nil
	}
	pace, err := time.ParseDuration(asked)
	if err != nil || pace < quickestPace || pace > slowestPace {
		return 0, fmt.Errorf("heartbeat=%.40q is not a time from %s to %s: write it as heartbeat=2s, or leave it out for one each second",
			asked, quickestPace, slowestPace)
	}
	return pace, nil
}

// Begin writes the status and the header of a stream. The server's own deadline for answers is for those that end; here each write has
// its own. An error means that nothing was written.
func Begin(w http.ResponseWriter, pace time.Duration) (*Stream, error) {
	s := &Stream{w, http.NewResponseController(w)}
	if err := s.c.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return nil, fmt.Errorf("stream without a deadline: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	h.Set("X-Heartbeat", strconv.FormatFloat(pace.Seconds(), 'f', -1, 64))
	w.WriteHeader(http.StatusOK)
	return s, nil
}

// Write sends what it is given, at once. An error is the end of the stream: the client has gone, or does not make room in time.
func (s *Stream) Write(data []byte) (int, error) {
	if err := s.c.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return 0, err
	}
	n, err := s.w.Write(data)
	if err != nil {
		return n, err
	}
	return n, s.c.Flush()
}

// First is what a stream begins with: when to come back, and then its first events.
func Preamble(frames []byte) []byte {
	return append(fmt.Appendf(nil, "retry: %d\n", RetryDelay.Milliseconds()), frames...)
}

// Frame is an event with an id; "" is none. The data must be one line.
func Frame(id, name, data string) []byte {
	if id == "" {
		return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data)
	}
	return fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", id, name, data)
}

// RetryLater sets the header of a refusal, so that the client comes back.
func SetRetryAfter(h http.Header) { h.Set("Retry-After", strconv.Itoa(int(RetryDelay.Seconds()))) }

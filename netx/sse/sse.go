// Package sse serves and reads streams of server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
package sse

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// DefaultHeartbeat is the interval between heartbeats on an idle stream; a client may ask for another one between
	// minHeartbeat and maxHeartbeat. After three intervals without a byte a client may assume that the daemon or the
	// path to it is down.
	DefaultHeartbeat = time.Second
	minHeartbeat     = 100 * time.Millisecond // ten heartbeats per second cost a daemon less than ten polls
	maxHeartbeat     = time.Minute            // NAT and firewalls on the path drop connections that are idle for longer

	// Heartbeat is what an idle stream sends: a comment.
	Heartbeat = ": heartbeat\n\n"
	// WriteTimeout is how long one write may block on a slow client.
	WriteTimeout = 5 * time.Second
	// retryDelay is how long clients wait before they reconnect after a stream ended or was refused.
	retryDelay = time.Second
)

// Stream is an open stream. It is not safe for concurrent use.
type Stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

// HeartbeatInterval parses the query parameter heartbeat; without it, it returns DefaultHeartbeat.
func HeartbeatInterval(r *http.Request) (time.Duration, error) {
	value := r.URL.Query().Get("heartbeat")
	if value == "" {
		return DefaultHeartbeat, nil
	}
	interval, err := time.ParseDuration(value)
	if err != nil || interval < minHeartbeat || interval > maxHeartbeat {
		return 0, fmt.Errorf("heartbeat=%.40q is not a duration from %s to %s: write it as heartbeat=2s, or omit it for one per second",
			value, minHeartbeat, maxHeartbeat)
	}
	return interval, nil
}

// HeartbeatRange parses the query parameters heartbeat and slowest: the interval that a client asks for, and the longest that it accepts
// where the daemon has many streams. Without slowest the client gets what it asks for.
func HeartbeatRange(r *http.Request) (asked, slowest time.Duration, err error) {
	asked, err = HeartbeatInterval(r)
	value := r.URL.Query().Get("slowest")
	if err != nil || value == "" {
		return asked, asked, err
	}
	slowest, err = time.ParseDuration(value)
	if err != nil || slowest < asked || slowest > maxHeartbeat {
		return 0, 0, fmt.Errorf("slowest=%.40q is not a duration from heartbeat (%s) to %s: write it as slowest=2s, or omit it",
			value, asked, maxHeartbeat)
	}
	return asked, slowest, nil
}

// Begin writes the status and header of a stream. It replaces the server's write deadline, which is meant for finite
// responses, by one per write. If it fails, nothing was written.
func Begin(w http.ResponseWriter, heartbeat time.Duration) (*Stream, error) {
	s := &Stream{w, http.NewResponseController(w)}
	if err := s.controller.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return nil, fmt.Errorf("set the write deadline of a stream: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // or nginx buffers events
	h.Set("X-Heartbeat", strconv.FormatFloat(heartbeat.Seconds(), 'f', -1, 64))
	w.WriteHeader(http.StatusOK)
	return s, nil
}

// Write sends and flushes data. An error ends the stream: the client has gone or is too slow.
func (s *Stream) Write(data []byte) (int, error) {
	if err := s.controller.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return 0, err
	}
	n, err := s.w.Write(data)
	if err != nil {
		return n, err
	}
	return n, s.controller.Flush()
}

// Preamble returns the start of a stream: the retry delay followed by frames.
func Preamble(frames []byte) []byte {
	return append(fmt.Appendf(nil, "retry: %d\n", retryDelay.Milliseconds()), frames...)
}

// Frame formats an event. An empty id is omitted; data must be one line.
func Frame(id, name, data string) []byte {
	if id == "" {
		return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data)
	}
	return fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", id, name, data)
}

// SetRetryAfter sets the Retry-After header of a refused stream.
func SetRetryAfter(h http.Header) { h.Set("Retry-After", strconv.Itoa(int(retryDelay.Seconds()))) }

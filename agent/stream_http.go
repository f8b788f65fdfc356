package agent

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// usualHeartbeat is how often a stream without events shows that the agent lives, unless the client asks for another pace between the
	// two others. Clients may take it for a lease: after three of them without a byte the agent, or the way to it, is gone.
	usualHeartbeat    = time.Second
	quickestHeartbeat = 100 * time.Millisecond // ten a second cost an agent less than ten polls do
	slowestHeartbeat  = time.Minute            // routers on the way forget connections that are quiet for longer
	heartbeat         = ": heartbeat\n\n"

	// streamWriteTime is how long a client may take to make room for one event.
	streamWriteTime = 5 * time.Second
	// retryTime is when clients come back after the end of a stream, or after a refusal.
	retryTime = time.Second
)

// answerWatch streams the health of a service: the present or what was missed at once, then every change, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (a *Agent) answerWatch(w http.ResponseWriter, r *http.Request, over way, service string) {
	pace, err := heartbeatOf(r.URL.Query().Get("heartbeat"))
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	s, first, err := a.streams.subscribe(over, service, r.Header.Get("Last-Event-ID"))
	switch {
	case errors.Is(err, errNoService):
		answer(w, http.StatusNotFound, notFound)
		return
	case err != nil:
		w.Header().Set("Retry-After", strconv.Itoa(int(retryTime.Seconds())))
		answer(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	defer a.streams.leave(s)
	// The server's own deadline for answers is for those that end; each event has its own.
	c := http.NewResponseController(w)
	if err := c.SetWriteDeadline(time.Now().Add(streamWriteTime)); err != nil {
		answer(w, http.StatusInternalServerError, "stream without a deadline: "+err.Error()+"\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	h.Set("X-Heartbeat", strconv.FormatFloat(pace.Seconds(), 'f', -1, 64))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	write := func(data []byte) error {
		if err := c.SetWriteDeadline(time.Now().Add(streamWriteTime)); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		return c.Flush()
	}
	if write(append([]byte("retry: "+strconv.FormatInt(retryTime.Milliseconds(), 10)+"\n"), first...)) == nil {
		s.send(r.Context().Done(), pace, write)
	}
}

// heartbeatOf reads the time between two heartbeats that a client asks for; "" is the usual.
func heartbeatOf(asked string) (time.Duration, error) {
	if asked == "" {
		return usualHeartbeat, nil
	}
	pace, err := time.ParseDuration(asked)
	if err != nil || pace < quickestHeartbeat || pace > slowestHeartbeat {
		return 0, fmt.Errorf("heartbeat=%.40q is not a time from %s to %s: write it as heartbeat=2s, or leave it out for one each second",
			asked, quickestHeartbeat, slowestHeartbeat)
	}
	return pace, nil
}

// send writes what comes, until the stream ends, the client goes away, or it does not make room in time. There is nobody to tell
// a failed write to.
func (s *stream) send(gone <-chan struct{}, pace time.Duration, write func([]byte) error) {
	beat := time.NewTicker(pace)
	defer beat.Stop()
	for {
		var next []byte
		select {
		case next = <-s.frames:
			beat.Reset(pace)
		case <-beat.C:
			next = []byte(heartbeat)
		case <-gone:
			return
		case <-s.ended:
			s.finish(write)
			return
		}
		if write(next) != nil {
			return
		}
	}
}

// finish writes what is left, and why it is the end. A client that was too slow for that is just left.
func (s *stream) finish(write func([]byte) error) {
	if errors.Is(s.cause, errSlowReading) {
		return
	}
	for {
		select {
		case next := <-s.frames:
			if write(next) != nil {
				return
			}
		default:
			// A client that has gone as well needs no reason.
			_ = write(frame("end", s.cause.Error()))
			return
		}
	}
}

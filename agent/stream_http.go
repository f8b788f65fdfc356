package agent

import (
	"errors"
	"net/http"
	"time"

	"github.com/braintree/lb/netx/sse"
)

// answerWatch streams the health of a service: the present or what was missed at once, then every change, as server-sent events.
func (a *Agent) answerWatch(w http.ResponseWriter, r *http.Request, over way, service string) {
	pace, err := sse.HeartbeatInterval(r)
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
		sse.SetRetryAfter(w.Header())
		answer(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	defer a.streams.leave(s)
	to, err := sse.Begin(w, pace)
	if err != nil {
		answer(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	if _, err := to.Write(sse.Preamble(first)); err == nil {
		s.send(r.Context().Done(), pace, to)
	}
}

// send writes what comes, until the stream ends, the client goes away, or it does not make room in time. There is nobody to tell
// a failed write to.
func (s *stream) send(gone <-chan struct{}, pace time.Duration, to *sse.Stream) {
	beat := time.NewTicker(pace)
	defer beat.Stop()
	for {
		var next []byte
		select {
		case next = <-s.frames:
			beat.Reset(pace)
		case <-beat.C:
			next = []byte(sse.Heartbeat)
		case <-gone:
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

// finish writes what is left, and why it is the end. A client that was too slow for that is just left.
func (s *stream) finish(to *sse.Stream) {
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
			// A client that has gone as well needs no reason.
			_, _ = to.Write(sse.Frame("", "end", s.cause.Error()))
			return
		}
	}
}

package server

import (
	"errors"
	"net/http"

	"github.com/braintree/lb/agent/stream"
	"github.com/braintree/lb/netx/sse"
)

// answerWatch streams the health of a service as server-sent events.
func (s *Server) answerWatch(w http.ResponseWriter, r *http.Request, over Transport, service string) {
	asked, slowest, err := sse.HeartbeatRange(r)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	subscription, first, err := s.opts.Streams.Subscribe(service, r.Header.Get("Last-Event-ID"), &s.quotas[over])
	switch {
	case errors.Is(err, stream.ErrNoService):
		answer(w, http.StatusNotFound, notFound)
		return
	case err != nil:
		sse.SetRetryAfter(w.Header())
		answer(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	defer s.opts.Streams.Unsubscribe(subscription)
	to, err := sse.Begin(w, s.opts.Streams.Pace(subscription, asked, slowest))
	if err != nil {
		answer(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	if _, err := to.Write(sse.Preamble(first)); err == nil {
		subscription.Send(r.Context().Done(), to)
	}
}

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/sse"
)

// events serves GET /events: a list or, if the client accepts text/event-stream, a stream.
func (h handler) events(w http.ResponseWriter, r *http.Request) {
	if !isRead(r) {
		notFound(w)
		return
	}
	streams := listen.AcceptQuality(r, "text/event-stream") > 0
	asked := r.URL.Query().Get("since")
	if id := r.Header.Get("Last-Event-ID"); streams && id != "" {
		asked = id
	}
	since, err := strconv.ParseUint(asked, 10, 64)
	switch {
	case asked != "" && err != nil:
		text(w, http.StatusBadRequest, "since (or Last-Event-ID) must be the number of an event such as 42, or 0 for all\n")
		return
	case asked == "" && streams:
		since = h.Journal.Last()
	case asked == "":
		if last := h.Journal.Last(); last > maxEvents {
			since = last - maxEvents
		}
	}
	if streams {
		h.stream(w, r, since)
		return
	}
	answerJSON(w, h.eventsAfter(since, r.URL.Query().Get("cluster")))
}

// eventsAfter returns the next events, of one cluster or, with "", of all.
func (h handler) eventsAfter(since uint64, cluster string) api.EventList {
	last := h.Journal.Last() // read first: an event added in between is not skipped
	events, missed := h.Journal.Since(since)
	l := api.EventList{Events: []event.Event{}, Last: last, Missed: missed}
	if len(events) > maxEvents {
		events, l.More = events[:maxEvents], true
	}
	if len(events) > 0 {
		l.Last = events[len(events)-1].Number
	}
	for _, e := range events {
		if cluster == "" || e.Cluster == cluster {
			l.Events = append(l.Events, e)
		}
	}
	return l
}

// stream sends the events after a number as they happen, until the client disconnects or reads too slowly, or the balancer stops.
func (h handler) stream(w http.ResponseWriter, r *http.Request, after uint64) {
	pace, err := sse.HeartbeatInterval(r)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		sse.SetRetryAfter(w.Header())
		text(w, http.StatusServiceUnavailable, "too many streams are open: use GET /events without text/event-stream, or retry later\n")
		return
	}
	to, err := sse.Begin(w, pace)
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.serving, cancel)()
	// The number to continue from, before the first event.
	if _, err := to.Write(sse.Preamble(fmt.Appendf(nil, "id: %d\n\n", after))); err != nil {
		return
	}
	for ctx.Err() == nil {
		frames := h.next(ctx, &after, r.URL.Query().Get("cluster"), pace)
		if _, err := to.Write(frames); err != nil {
			return // the client went away or is too slow: it can continue from its last event
		}
	}
	if h.serving.Err() != nil {
		_, _ = to.Write(sse.Frame("", "end", api.ErrStopping.Error())) // a client that went away needs no reason
	}
}

// next returns what to send next: the events after a number, which it advances, or a heartbeat.
func (h handler) next(ctx context.Context, after *uint64, cluster string, pace time.Duration) []byte {
	ctx, cancel := context.WithTimeout(ctx, pace)
	defer cancel()
	var frames []byte
	for len(frames) == 0 {
		events, missed, err := h.Journal.Wait(ctx, *after)
		if err != nil {
			return []byte(sse.Heartbeat)
		}
		if missed > 0 {
			frames = append(frames, sse.Frame("", "missed", strconv.FormatUint(missed, 10))...)
		}
		for _, e := range events {
			*after = e.Number
			if cluster == "" || e.Cluster == cluster {
				frames = append(frames, eventFrame(e)...)
			}
		}
	}
	return frames
}

func eventFrame(e event.Event) []byte {
	data, err := json.Marshal(e)
	if err != nil { // only a time beyond the year 9999
		return sse.Frame("", "error", err.Error())
	}
	return sse.Frame(strconv.FormatUint(e.Number, 10), string(e.Kind), string(data))
}

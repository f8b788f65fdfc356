package stream

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/netx/sse"
)

// topic is one service as published.
type topic struct {
	state
	changesAt     time.Time // when it may change by the passing of time alone; zero: never
	recent        []event   // the latest events, oldest first; never empty once published
	subscriptions map[*Subscription]bool
}

// state is the part of a view that causes an event when it changes.
type state struct {
	health, measured int
	fault            string      // see service.View
	forced           force.Force // zero: none is in effect
}

// event is a change as sent.
type event struct {
	seq   uint64
	frame []byte
}

func stateOf(v service.View) state {
	s := state{health: v.Health, measured: v.Measured, fault: v.Fault}
	if v.Forced != nil {
		s.forced = *v.Forced
	}
	return s
}

// frame encodes a view as an event.
func frame(v service.View, run string, seq uint64, now time.Time) []byte {
	data, err := json.Marshal(api.HealthEvent{
		Service: v.Name, Health: v.Health, Measured: v.Measured, Forced: v.ForceReport(), Reason: v.Cause(now), At: now.UTC().Round(0),
	})
	if err != nil { // only a time beyond the year 9999 cannot be encoded; the client must not mistake the error for health
		return sse.Frame("", "error", err.Error())
	}
	return sse.Frame(run+"-"+strconv.FormatUint(seq, 10), "health", string(data))
}

// since returns the events after the one with an id. A client gets the latest event alone if it missed more
// than is kept, if it missed nothing, or if the id is from another run of the agent.
func (t *topic) since(run, lastID string) []byte {
	last := t.recent[len(t.recent)-1]
	idRun, number, _ := strings.Cut(lastID, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || idRun != run || seq < t.recent[0].seq || seq >= last.seq {
		return last.frame
	}
	var missed [][]byte
	for _, e := range t.recent {
		if e.seq > seq {
			missed = append(missed, e.frame)
		}
	}
	return bytes.Join(missed, nil)
}

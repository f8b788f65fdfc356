package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/netx/sse"
)

const (
	// Streams at one time. Those over TCP leave half of maxReaders, and those over the socket half of maxChangers, to requests.
	maxStreams       = 1024
	maxSocketStreams = 32

	// maxRecent is how many events of a service are kept for clients that come back, and how many an open stream may be behind.
	maxRecent = 32

	// maxNap is how long the streams sleep when nothing is about to change by the passing of time.
	maxNap = time.Minute
)

// Why there is no stream.
var (
	errNoService   = errors.New("there is no such service")
	errTooMany     = errors.New("too many streams are open: poll GET /SERVICE/status, or try again later")
	errNotServing  = errors.New("the agent is starting or stopping: try again")
	errLeft        = errors.New("the service has left the configuration")
	errAgentStops  = errors.New("the agent stops")
	errSlowReading = errors.New("the client reads too slowly")
)

// streams tells every open stream what changes about its service, in order. Who changes something calls refresh: nothing is
// polled. The zero value has no streams, and takes none until it serves.
type streams struct {
	mu     sync.Mutex // protects what follows, and puts events in order; never held while a client is written to
	look   func(service string, now time.Time) (service.View, bool)
	run    string // tells event ids of this run of the agent from those of others; "" while it does not serve
	seq    uint64 // of the latest event, of whatever service
	topics map[string]*topic
	open   [2]int        // streams by the way that they came in
	armed  time.Time     // when serve looks at the clock again; zero: it is not known yet
	sooner chan struct{} // tells serve that armed is too late; holds one

	counts streamCounts
}

// streamCounts are for the scrape; they only grow.
type streamCounts struct{ opened, refused, slow, events uint64 }

// topic is one service as its streams were told.
type topic struct {
	standing
	until   time.Time // when it may change by the passing of time alone; zero: never
	recent  []event   // the latest events, oldest first; never empty
	readers map[*stream]bool
}

// standing is what makes an event when it changes.
type standing struct {
	health, measured int
	forced           force.Force // zero: none is in effect
}

// event is a change, as it is sent.
type event struct {
	seq   uint64
	frame []byte
}

// stream is one client's. Its handler's goroutine owns it, and gets what it must send from frames.
type stream struct {
	service string
	over    way
	frames  chan []byte
	ended   chan struct{} // closed when no more frames come
	cause   error         // why; set before ended is closed
}

func standingOf(v service.View) standing {
	s := standing{health: v.Health, measured: v.Measured}
	if v.Forced != nil {
		s.forced = *v.Forced
	}
	return s
}

// begin takes streams from here on; serve must follow.
func (s *streams) begin(look func(service string, now time.Time) (service.View, bool)) {
	run := make([]byte, 4)
	rand.Read(run) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look, s.run, s.topics, s.sooner = look, hex.EncodeToString(run), map[string]*topic{}, make(chan struct{}, 1)
}

// serve tells of what changes by the passing of time, until ctx ends, which ends all streams.
func (s *streams) serve(ctx context.Context) {
	timer := time.NewTimer(maxNap)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.stop()
			return
		case <-s.sooner:
		case <-timer.C:
		}
		timer.Reset(s.passTime(time.Now()))
	}
}

func (s *streams) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		s.endAll(t, errAgentStops)
	}
	s.run, s.topics = "", nil
}

// passTime tells what has changed by the passing of time, and gives how long nothing will.
func (s *streams) passTime(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = now.Add(maxNap)
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		t := s.topics[name]
		if !t.until.IsZero() && !t.until.After(now) {
			s.update(name, now)
		}
		if !t.until.IsZero() && t.until.Before(s.armed) {
			s.armed = t.until
		}
	}
	return s.armed.Sub(now)
}

// refresh tells the streams of a service, if it has changed. It is called after every change of a result or a force.
func (s *streams) refresh(service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[service] != nil { // else nobody has asked for it yet
		s.update(service, time.Now())
	}
}

// refreshAll is refresh for all services, after a force of all and after a reload.
func (s *streams) refreshAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		s.update(name, now)
	}
}

// forceChanged tells open streams of a force that began or ended; service "" is that of all. Then it lets their goroutines go first: balancers wait for
// what those send, and nobody for the logs that the caller writes next.
func (a *Agent) forceChanged(service string) {
	if service == "" {
		a.streams.refreshAll()
	} else {
		a.streams.refresh(service)
	}
	runtime.Gosched()
}

// update compares a service with what its streams were told last. The caller holds mu.
func (s *streams) update(name string, now time.Time) {
	t := s.topics[name]
	v, ok := s.look(name, now)
	if !ok {
		if t != nil {
			s.endAll(t, errLeft)
			delete(s.topics, name)
		}
		return
	}
	if t == nil {
		t = &topic{readers: map[*stream]bool{}}
		s.topics[name] = t
	}
	t.until = v.ChangesAt(now)
	if !t.until.IsZero() && (s.armed.IsZero() || t.until.Before(s.armed)) {
		select {
		case s.sooner <- struct{}{}:
		default: // serve has not taken the last one yet
		}
	}
	if len(t.recent) > 0 && t.standing == standingOf(v) {
		return
	}
	t.standing = standingOf(v)
	s.publish(t, v, now)
}

// publish makes the event and hands it to the readers. The caller holds mu.
func (s *streams) publish(t *topic, v service.View, now time.Time) {
	s.seq++
	s.counts.events++
	e := event{s.seq, frame(v, s.run, s.seq, now)}
	if len(t.recent) == maxRecent {
		t.recent = slices.Delete(t.recent, 0, 1)
	}
	t.recent = append(t.recent, e)
	for r := range t.readers {
		select {
		case r.frames <- e.frame:
		default:
			s.counts.slow++
			s.end(t, r, errSlowReading)
		}
	}
}

// frame is the view as an event on the wire.
func frame(v service.View, run string, seq uint64, now time.Time) []byte {
	data, err := json.Marshal(api.HealthEvent{
		Service: v.Name, Health: v.Health, Measured: v.Measured, Forced: v.ForceReport(), Reason: v.Cause(now), At: now.UTC().Round(0),
	})
	if err != nil { // only a time beyond the year 9999 cannot be encoded; a client must not take that for health
		return sse.Frame("", "error", err.Error())
	}
	return sse.Frame(run+"-"+strconv.FormatUint(seq, 10), "health", string(data))
}

// subscribe opens a stream and gives what it sends first: the events after lastID when that is known, else the present health.
// Whoever calls it must call leave.
func (s *streams) subscribe(over way, service, lastID string) (*stream, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := maxStreams
	if over == overSocket {
		most = maxSocketStreams
	}
	if s.run == "" {
		s.counts.refused++
		return nil, nil, errNotServing
	}
	s.update(service, time.Now())
	t := s.topics[service]
	if t == nil {
		return nil, nil, errNoService
	}
	if s.open[over] >= most {
		s.counts.refused++
		return nil, nil, errTooMany
	}
	r := &stream{service: service, over: over, frames: make(chan []byte, maxRecent), ended: make(chan struct{})}
	t.readers[r] = true
	s.open[over]++
	s.counts.opened++
	return r, t.since(s.run, lastID), nil
}

// since gives the events after the one with an id. A client that has missed more than is kept, has an id of another run, or has
// missed nothing, gets the present.
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

// leave closes a stream; one that was ended already is left alone.
func (s *streams) leave(r *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[r.service]; t != nil && t.readers[r] {
		s.end(t, r, nil)
	}
}

// end takes a stream away from its service. The caller holds mu.
func (s *streams) end(t *topic, r *stream, cause error) {
	r.cause = cause
	close(r.ended)
	delete(t.readers, r)
	s.open[r.over]--
}

func (s *streams) endAll(t *topic, cause error) {
	for r := range t.readers {
		s.end(t, r, cause)
	}
}

// state gives what the scrape shows.
func (s *streams) state() (open int, counts streamCounts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[overTCP] + s.open[overSocket], s.counts
}

// Package watch monitors the nodes of clusters, and the balancers of other data centres, by polling them or following their streams.
package watch

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

const (
	// The time until the stream is tried again: after a response that is not a stream, after the first stream that ended, and at most.
	noStreamBackoff    = 30 * time.Second
	firstStreamBackoff = time.Second
	maxStreamBackoff   = 30 * time.Second
	// stableStreamTime is how long a stream must have been open to reset the backoff.
	stableStreamTime = 30 * time.Second
	// phaseSteps is the number of phases in an interval.
	phaseSteps = 10
)

// Watcher watches one node, in one goroutine of its own: a node that hangs delays no other.
type Watcher struct {
	target
	start     time.Time // phases count from here
	monitor   *HeartbeatMonitor
	streaming atomic.Bool
	lastSeen  atomic.Int64 // the stream's latest event or heartbeat, in nanoseconds after start; 0: none yet
}

// target is what a Watcher watches, and how.
type target struct {
	cluster    string
	node       config.Node
	interval   time.Duration
	timeout    time.Duration
	rise, fall int
	watch      config.WatchMode
}

// Update is a reading and the Watcher that took it.
type Update struct {
	From    *Watcher
	Reading decide.Reading
}

// New returns a watcher of a cluster's node; Run starts it. Watchers with the same start and monitor share their wake-ups.
func New(c config.Cluster, n config.Node, start time.Time, monitor *HeartbeatMonitor) *Watcher {
	return &Watcher{target: targetOf(c, n), start: start, monitor: monitor}
}

func targetOf(c config.Cluster, n config.Node) target {
	return target{
		cluster: c.Name, node: n, interval: c.CheckInterval, timeout: c.CheckTimeout, rise: c.Rise, fall: c.Fall, watch: c.Watch,
	}
}

// Matches reports whether a watcher made from this config would do the same, so that w and its connection can stay.
func (w *Watcher) Matches(c config.Cluster, n config.Node) bool { return w.target == targetOf(c, n) }

// Streaming reports whether the node's stream is open; otherwise the node is polled.
func (w *Watcher) Streaming() bool { return w.streaming.Load() }

// LastSeen is when a stream last delivered an event or a heartbeat, which confirms the last reading; zero: never.
func (w *Watcher) LastSeen() time.Time {
	if after := w.lastSeen.Load(); after > 0 {
		return w.start.Add(time.Duration(after))
	}
	return time.Time{}
}

func (w *Watcher) setLastSeen(at time.Time) { w.lastSeen.Store(int64(at.Sub(w.start))) }

// Run watches until ctx ends, then closes the poller. It polls at once and then at the node's phase of every interval. After a poll
// with a response it opens the node's stream, if there is one, and does not poll while that is open.
func (w *Watcher) Run(ctx context.Context, p Poller, out chan<- Update) {
	defer p.Close()
	r := run{Watcher: w, poller: p, out: out, counter: riseCounter{rise: w.rise, interval: w.interval}}
	if w.watch == config.WatchAuto {
		r.opener, _ = p.(streamOpener)
	}
	next, step := time.Now(), w.untilPhase(time.Now())
	r.nextStream = next.Add(step) // not with the first poll: heartbeats are spread like polls
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		answered := r.poll(ctx)
		if answered && r.opener != nil && !time.Now().Before(r.nextStream) && r.follow(ctx) {
			next, step = time.Now(), 0 // the stream has ended: poll at once
		}
		if ctx.Err() != nil {
			return
		}
		next, step = next.Add(step), w.interval
		for now := time.Now(); next.Before(now); {
			next = next.Add(w.interval) // skip missed polls, as after a suspend
		}
		timer.Reset(time.Until(next))
	}
}

// run is the state of Watcher.Run.
type run struct {
	*Watcher
	poller  Poller
	opener  streamOpener // the poller; nil: do not open streams
	out     chan<- Update
	counter riseCounter

	nextStream    time.Time     // do not open the stream before
	streamBackoff time.Duration // of the last stream that ended; 0: none did
	noHeartbeat   bool          // the last stream ended because its heartbeats timed out
}

// poll polls once, sends the reading, and reports whether there was a response.
func (r *run) poll(ctx context.Context) bool {
	pollCtx, cancel := context.WithTimeout(ctx, r.timeout)
	reading := r.poller.Poll(pollCtx)
	cancel()
	if ctx.Err() != nil {
		return false // interrupted: the reading says nothing about the node
	}
	if r.noHeartbeat && !reading.Answered && r.missedPolls() > 1 {
		// Two heartbeats and this poll are missing. That counts as two polls: this one was made when the second heartbeat was overdue.
		r.send(ctx, decide.Reading{At: reading.At, Detail: "no heartbeat for " + r.heartbeatTimeout().String()})
	}
	r.noHeartbeat = false
	r.counter.observe(reading)
	r.send(ctx, reading)
	return reading.Answered
}

func (r *run) send(ctx context.Context, reading decide.Reading) {
	select {
	case r.out <- Update{r.Watcher, reading}:
	case <-ctx.Done():
	}
}

// missedPolls is the number of polls without a response that a heartbeat timeout counts as.
func (t target) missedPolls() int { return min(max(t.fall, 1), heartbeatsPerTimeout) }

// heartbeatTimeout is how long a stream may deliver nothing. When it is over and a poll gets no response, the node has been
// unresponsive for as long as polling would have taken to find out.
func (t target) heartbeatTimeout() time.Duration { return time.Duration(t.missedPolls()) * t.interval }

// follow opens the stream and sends its readings until it ends. It returns false when the stream did not open.
func (r *run) follow(ctx context.Context) bool {
	openCtx, cancel := context.WithTimeout(ctx, r.timeout)
	s, err := r.opener.openStream(openCtx, r.heartbeatTimeout())
	cancel()
	switch {
	case err != nil && isTimeout(err):
		r.streamEnded(time.Now(), err)
		return false
	case err != nil:
		r.nextStream = time.Now().Add(jitter(noStreamBackoff))
		return false
	}
	s.parkUnder(r.monitor, r.setLastSeen)
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	r.streaming.Store(true)
	defer r.streaming.Store(false)
	opened := time.Now()
	for ctx.Err() == nil {
		reading, isEvent, err := s.Next()
		if err != nil {
			r.streamEnded(opened, err)
			return true
		}
		r.setLastSeen(reading.At)
		if r.counter.observeStream(reading, isEvent) {
			r.send(ctx, reading)
		}
		if !r.counter.needsHeartbeats() {
			s.park()
		}
	}
	return true
}

// streamEnded schedules the next attempt to open the stream: soon after a long-lived one, with exponential backoff otherwise. A stream
// that did not open in time counts as short-lived.
func (r *run) streamEnded(opened time.Time, err error) {
	now := time.Now()
	r.noHeartbeat = err == errNoHeartbeat
	r.streamBackoff = min(2*r.streamBackoff, maxStreamBackoff)
	if r.streamBackoff == 0 || now.Sub(opened) >= stableStreamTime {
		r.streamBackoff = firstStreamBackoff
	}
	r.nextStream = now.Add(jitter(r.streamBackoff))
}

// jitter shortens d by up to half, so that streams that ended together are not all retried together.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2) }

// riseCounter counts the readings sent that are above 0, as far as they matter for rise.
type riseCounter struct {
	rise     int
	interval time.Duration
	good     int       // consecutive readings above 0, at most rise
	at       time.Time // of the latest one
}

// observe counts a reading that is sent.
func (c *riseCounter) observe(r decide.Reading) {
	if r.Health <= 0 {
		c.good = 0
		return
	}
	c.good, c.at = min(c.good+1, c.rise), r.At
}

// observeStream reports whether to send a reading of a stream, and counts it if so. Once the node is up only events are sent. Until
// then a heartbeat counts as a good poll, too, but two readings are at least three quarters of an interval apart, however fast
// events come.
func (c *riseCounter) observeStream(r decide.Reading, isEvent bool) (send bool) {
	switch {
	case !r.Answered: // a heartbeat before the first event
		return false
	case r.Health <= 0 || c.good >= c.rise:
		if isEvent {
			c.observe(r)
		}
		return isEvent
	case c.good > 0 && r.At.Sub(c.at) < c.interval*3/4:
		return false
	}
	c.observe(r)
	return true
}

// needsHeartbeats reports whether heartbeats count: the node is neither up nor at 0.
func (c *riseCounter) needsHeartbeats() bool { return c.good > 0 && c.good < c.rise }

// untilPhase is the time from now to the node's next phase; it is below the interval.
func (w *Watcher) untilPhase(now time.Time) time.Duration {
	return (w.interval + w.phase() - now.Sub(w.start)%w.interval) % w.interval
}

// phase is the node's fixed offset within the interval, which spreads the polls of a fleet. There are few phases, so that one
// wake-up serves many nodes: a wake-up costs as much as a poll.
func (w *Watcher) phase() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(w.cluster))
	h.Write(w.node.Address.AsSlice())
	h.Write([]byte{byte(w.node.Port >> 8), byte(w.node.Port)})
	h.Write([]byte(w.node.Path))
	return w.interval / phaseSteps * time.Duration(h.Sum64()%phaseSteps)
}

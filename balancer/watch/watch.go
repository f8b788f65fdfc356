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
		ended := answered && r.opener != nil && !time.Now().Before(r.nextStream) && r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if ended {
			next, step = time.Now(), w.interval
			timer.Reset(0)
			continue
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

	lapsed    time.Duration // the lease of the last stream, if it ended for lack of heartbeats and nothing was polled since; 0: it did not
	answered  bool          // the last poll got a response
	slowdown  int           // how often the interval between heartbeats was doubled because the node was late
	slowUntil time.Time     // when the slowdown ends
}

// poll polls, sends the readings, and reports whether there was a response.
func (r *run) poll(ctx context.Context) bool {
	lapsed, reach := r.lapsed, time.Duration(0)
	r.lapsed = 0
	if lapsed > 0 {
		reach = r.reachTimeout(lapsed)
	}
	reading, gone := r.pollInTime(ctx, reach)
	if ctx.Err() != nil {
		return false // interrupted: the reading says nothing about the node
	}
	switch {
	case reading.Answered && lapsed > 0:
		r.slowDown()
	case lapsed > 0 && (gone || lapsed >= r.heartbeatTimeout()):
		// The heartbeats of the lease and this poll are missing. That counts as two polls.
		for range r.missedPolls() - 1 {
			r.send(ctx, decide.Reading{At: reading.At, Detail: "no heartbeat for " + lapsed.String()})
		}
	case lapsed == 0 && gone && r.answered && r.fall > 1:
		r.deliver(ctx, reading)
		if reading, _ = r.pollInTime(ctx, r.firstRetry()); ctx.Err() != nil {
			return false
		}
	}
	r.deliver(ctx, reading)
	return reading.Answered
}

// pollInTime polls once. gone reports whether nothing shows that the node's machine is there, although it had time for that. After a
// poll that took much too long because this process did not run, it polls again: a response that came meanwhile may have been lost.
func (r *run) pollInTime(ctx context.Context, reach time.Duration) (reading decide.Reading, gone bool) {
	for attempt := 0; ; attempt++ {
		begun := time.Now()
		reading, reached := r.pollOnce(ctx, reach)
		limit := r.timeout
		if reach > 0 && !reached {
			limit = reach
		}
		took := time.Since(begun)
		if reading.Answered || attempt > 0 || !isLate(took, limit) || ctx.Err() != nil {
			return reading, !reading.Answered && !reached && (reach > 0 || took >= r.firstRetry())
		}
	}
}

// pollOnce polls once. A Poller that cannot tell counts as one that has reached the node.
func (r *run) pollOnce(ctx context.Context, reach time.Duration) (reading decide.Reading, reached bool) {
	pollCtx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	if p, ok := r.poller.(reachPoller); ok {
		return p.pollReach(pollCtx, reach)
	}
	return r.poller.Poll(pollCtx), true
}

// slowDown asks for fewer heartbeats for a while: the node was late, not gone.
func (r *run) slowDown() {
	if r.slowdown == slowdowns {
		return
	}
	r.slowdown, r.slowUntil = r.slowdown+1, time.Now().Add(slowdownTime)
	r.streamBackoff, r.nextStream = firstStreamBackoff, time.Now().Add(jitter(firstStreamBackoff))
}

// deliver counts a reading of a poll and sends it.
func (r *run) deliver(ctx context.Context, reading decide.Reading) {
	r.answered = reading.Answered
	r.counter.observe(reading)
	r.send(ctx, reading)
}

func (r *run) send(ctx context.Context, reading decide.Reading) {
	select {
	case r.out <- Update{r.Watcher, reading}:
	case <-ctx.Done():
	}
}

// missedPolls is the number of polls without a response that a heartbeat timeout counts as.
func (t target) missedPolls() int { return min(max(t.fall, 1), heartbeatsPerTimeout) }

// heartbeatTimeout is the longest time for which a stream may deliver nothing. When it is over and a poll gets no response, the node has
// been unresponsive for as long as polling would have taken to find out.
func (t target) heartbeatTimeout() time.Duration { return time.Duration(t.missedPolls()) * t.interval }

// follow opens the stream and sends its readings until it ends. It returns false when the stream did not open.
func (r *run) follow(ctx context.Context) bool {
	if time.Now().After(r.slowUntil) {
		r.slowdown = 0
	}
	wanted := r.pace(r.monitor.fleetHeartbeat(), r.slowdown)
	openCtx, cancel := context.WithTimeout(ctx, r.timeout)
	s, err := r.opener.openStream(openCtx, wanted)
	cancel()
	switch {
	case err != nil && isTimeout(err):
		r.streamEnded(time.Now(), err)
		return false
	case err != nil:
		r.nextStream = time.Now().Add(jitter(noStreamBackoff))
		return false
	}
	s.parkUnder(parkedLife{r.monitor, r.setLastSeen, r.outdated(wanted)})
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	r.streaming.Store(true)
	defer r.streaming.Store(false)
	opened := time.Now()
	for ctx.Err() == nil {
		reading, isEvent, err := s.Next()
		if err != nil {
			if err == errNoHeartbeat {
				r.lapsed = s.timeout
			}
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

// outdated returns a function that reports whether a stream opened at a pace should have quite another one: the fleet has grown or shrunk,
// or the node was slow for long enough.
func (r *run) outdated(wanted pace) func(now time.Time) bool {
	slowdown, slowUntil, fleet := r.slowdown, r.slowUntil, r.monitor.fleetHeartbeat()
	return func(now time.Time) bool {
		if slowdown > 0 && now.After(slowUntil) {
			return true
		}
		current := r.monitor.fleetHeartbeat()
		if current == fleet {
			return false
		}
		asked := r.pace(current, slowdown).asked
		return asked >= 2*wanted.asked || wanted.asked >= 2*asked
	}
}

// streamEnded schedules the next attempt to open the stream: soon after a long-lived one, with exponential backoff otherwise. A stream
// that did not open in time counts as short-lived.
func (r *run) streamEnded(opened time.Time, err error) {
	now := time.Now()
	r.streamBackoff = min(2*r.streamBackoff, maxStreamBackoff)
	if r.streamBackoff == 0 || now.Sub(opened) >= stableStreamTime || err == errPace {
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

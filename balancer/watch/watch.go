// Package watch finds out how the nodes of clusters are: each Watcher keeps an eye on one node, by the stream of its agent or by asking
// it again and again, and sends what it learns as readings. So it does with what other data centres' balancers have of a cluster.
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
	// The wait for the next try of a stream: where there is none, after the first that ended, and at most.
	noStreamWait    = 30 * time.Second
	firstStreamWait = time.Second
	mostStreamWait  = 30 * time.Second
	// phaseSteps is how many phases an interval has.
	phaseSteps = 10
	// streamLived is how long a stream must have been open so that the waits begin anew.
	streamLived = 30 * time.Second
)

// Watcher watches one node, in one goroutine. A node that hangs costs its own watcher time and nobody else.
type Watcher struct {
	target
	begun  time.Time // phases count from there
	leases *Leases
	stream atomic.Bool  // it follows a stream
	heard  atomic.Int64 // the stream's latest sign of life, in nanoseconds after begun; 0 is none
}

// target is what a Watcher is for.
type target struct {
	cluster    string
	node       config.Node
	interval   time.Duration
	timeout    time.Duration
	rise, fall int
	watch      config.WatchMode
}

// News is what a Watcher sends.
type News struct {
	From    *Watcher
	Reading decide.Reading
}

// New returns a watcher of a cluster's node. It does nothing before Run. Watchers that begin at one moment, and have the same leases, share their wake-ups.
func New(c config.Cluster, n config.Node, begun time.Time, leases *Leases) *Watcher {
	return &Watcher{target: targetOf(c, n), begun: begun, leases: leases}
}

func targetOf(c config.Cluster, n config.Node) target {
	return target{
		cluster: c.Name, node: n, interval: c.CheckInterval, timeout: c.CheckTimeout, rise: c.Rise, fall: c.Fall, watch: c.Watch,
	}
}

// Same tells whether w watches exactly what is wanted of it, so that it and its connection can stay.
func (w *Watcher) Same(c config.Cluster, n config.Node) bool { return w.target == targetOf(c, n) }

// Streams tells whether a stream is open; else the node is polled.
func (w *Watcher) Streams() bool { return w.stream.Load() }

// Heard is when a stream last gave a sign of life, which says that the reading before it still holds; zero: it never did.
func (w *Watcher) Heard() time.Time {
	if after := w.heard.Load(); after > 0 {
		return w.begun.Add(time.Duration(after))
	}
	return time.Time{}
}

func (w *Watcher) hear(at time.Time) { w.heard.Store(int64(at.Sub(w.begun))) }

// Run watches until ctx ends, and closes the poller then. It polls at once, then at the node's own phase of every interval, two polls never
// at once, and opens the node's stream once a poll was answered, if there is one: as long as that lives, nothing is polled.
func (w *Watcher) Run(ctx context.Context, p Poller, out chan<- News) {
	defer p.Close()
	r := run{Watcher: w, poller: p, out: out, told: told{rise: w.rise, interval: w.interval}}
	if w.watch == config.WatchAuto {
		r.opener, _ = p.(Opener)
	}
	next, step := time.Now(), w.untilPhase(time.Now())
	r.tryStream = next.Add(step) // not with the first poll: heartbeats are spread like polls
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		answered := r.poll(ctx)
		if answered && r.opener != nil && !time.Now().Before(r.tryStream) && r.follow(ctx) {
			next, step = time.Now(), 0 // it has ended: ask at once
		}
		if ctx.Err() != nil {
			return
		}
		next, step = next.Add(step), w.interval
		for now := time.Now(); next.Before(now); {
			next = next.Add(w.interval) // late, as after a suspend: leave out what was missed
		}
		timer.Reset(time.Until(next))
	}
}

// run is a Watcher at work.
type run struct {
	*Watcher
	poller Poller
	opener Opener // the same; nil when no stream is to be tried
	out    chan<- News
	told   told

	tryStream time.Time     // not before
	wait      time.Duration // before the last try that followed a stream's end; 0 is none
	unheard   bool          // the last stream was without a sign of life until its lease was over
}

// poll asks once and sends what it learnt. It tells whether there was an answer.
func (r *run) poll(ctx context.Context) bool {
	asked, cancel := context.WithTimeout(ctx, r.timeout)
	reading := r.poller.Poll(asked)
	cancel()
	if ctx.Err() != nil {
		return false // the poll was broken off: it says nothing about the node
	}
	if r.unheard && !reading.Answered && r.beats() > 1 {
		// Two heartbeats and this poll are missing. The poll stands for one of those, for it was made when the second was over.
		r.send(ctx, decide.Reading{At: reading.At, Detail: "no heartbeat for " + r.lease().String()})
	}
	r.unheard = false
	r.told.poll(reading)
	r.send(ctx, reading)
	return reading.Answered
}

func (r *run) send(ctx context.Context, reading decide.Reading) {
	select {
	case r.out <- News{r.Watcher, reading}:
	case <-ctx.Done():
	}
}

// beats is how many polls without an answer a lease that is over stands for.
func (t target) beats() int { return min(max(t.fall, 1), beatsPerLease) }

// lease is how long a stream may be without a sign of life. When it is over, and a poll gets no answer, the node has been silent for as long as
// polling would have taken to find out.
func (t target) lease() time.Duration { return time.Duration(t.beats()) * t.interval }

// follow opens the stream and sends what it tells, until it ends or ctx does. It tells whether it was open.
func (r *run) follow(ctx context.Context) bool {
	opening, cancel := context.WithTimeout(ctx, r.timeout)
	s, err := r.opener.Open(opening, r.lease())
	cancel()
	switch {
	case err != nil && late(err):
		r.ended(time.Now(), err)
		return false
	case err != nil:
		r.tryStream = time.Now().Add(jitter(noStreamWait))
		return false
	}
	s.Lend(r.leases, r.hear)
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	r.stream.Store(true)
	defer r.stream.Store(false)
	opened := time.Now()
	for ctx.Err() == nil {
		reading, news, err := s.Next()
		if err != nil {
			r.ended(opened, err)
			return true
		}
		r.hear(reading.At)
		if r.told.stream(reading, news) {
			r.send(ctx, reading)
		}
		if r.told.onlyNews() {
			s.Hold()
		}
	}
	return true
}

// ended decides when the stream that has just ended is tried again: the sooner, the longer it lived. One that did not open in time has not lived.
func (r *run) ended(opened time.Time, err error) {
	now := time.Now()
	r.unheard = err == errLease
	r.wait = min(2*r.wait, mostStreamWait)
	if r.wait == 0 || now.Sub(opened) >= streamLived {
		r.wait = firstStreamWait
	}
	r.tryStream = now.Add(jitter(r.wait))
}

// jitter takes away up to half of a time, so that what ended at once is not tried again at once.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2) }

// told is what the engine was told of a node, as far as it counts towards rise.
type told struct {
	rise     int
	interval time.Duration
	good     int       // readings above 0 in a row, at most rise
	at       time.Time // of the latest one
}

// poll takes in a reading that is sent.
func (t *told) poll(r decide.Reading) {
	if r.Health <= 0 {
		t.good = 0
		return
	}
	t.good, t.at = min(t.good+1, t.rise), r.At
}

// stream takes in what a stream has given, the newest reading or a sign that it still holds, and tells whether to send it. Once the node has
// risen only news are worth it. Until then a sign of life is a good poll, and two of those are three quarters of an interval apart at
// least, however fast events come.
func (t *told) stream(r decide.Reading, news bool) bool {
	switch {
	case !r.Answered: // a heartbeat before the first event
		return false
	case r.Health <= 0 || t.good >= t.rise:
		if news {
			t.poll(r)
		}
		return news
	case t.good > 0 && r.At.Sub(t.at) < t.interval*3/4:
		return false
	}
	t.poll(r)
	return true
}

// onlyNews tells whether signs of life need not be sent: the node has risen, or it is at 0.
func (t *told) onlyNews() bool { return t.good == 0 || t.good >= t.rise }

// untilPhase is the time from now to the next moment of the node's own phase; it is below the interval.
func (w *Watcher) untilPhase(now time.Time) time.Duration {
	return (w.interval + w.phase() - now.Sub(w.begun)%w.interval) % w.interval
}

// phase spreads the polls of a fleet over the interval; it is below it. There are few phases, so that a balancer wakes up for many nodes at a time: to
// wake up costs as much as a poll.
func (w *Watcher) phase() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(w.cluster))
	h.Write(w.node.Address.AsSlice())
	h.Write([]byte{byte(w.node.Port >> 8), byte(w.node.Port)})
	h.Write([]byte(w.node.Path))
	return w.interval / phaseSteps * time.Duration(h.Sum64()%phaseSteps)
}

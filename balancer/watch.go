package balancer

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// watcher polls one node on its own clock. A node that hangs costs its own watcher time and nobody else.
type watcher struct {
	cluster  string
	node     config.Node
	interval time.Duration
	timeout  time.Duration
	stop     context.CancelFunc
}

// news is what a watcher sends to the engine.
type news struct {
	from    *watcher
	reading decide.Reading
}

// same tells whether w polls exactly what is wanted of it, so that it and its connection can stay.
func (w *watcher) same(c config.Cluster, n config.Node) bool {
	return w.cluster == c.Name && w.node == n && w.interval == c.CheckInterval && w.timeout == c.CheckTimeout
}

// run polls at once, then at the node's own phase of every interval, until ctx ends. Two polls never overlap.
func (w *watcher) run(ctx context.Context, p Poller, out chan<- news) {
	defer p.Close()
	next := time.Now()
	step := w.phase()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		poll, cancel := context.WithTimeout(ctx, w.timeout)
		r := p.Poll(poll)
		cancel()
		if ctx.Err() != nil {
			return // the poll was broken off: it says nothing about the node
		}
		select {
		case out <- news{w, r}:
		case <-ctx.Done():
			return
		}
		next, step = next.Add(step), w.interval
		for now := time.Now(); next.Before(now); {
			next = next.Add(w.interval) // late, as after a suspend: leave out what was missed
		}
		timer.Reset(time.Until(next))
	}
}

// phase spreads the polls of a fleet over the interval; it is below it. The second poll comes that much later than the first.
func (w *watcher) phase() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(w.cluster))
	h.Write(w.node.Address.AsSlice())
	h.Write([]byte{byte(w.node.Port >> 8), byte(w.node.Port)})
	h.Write([]byte(w.node.Path))
	return time.Duration(h.Sum64() % uint64(w.interval))
}

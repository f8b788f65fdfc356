// Package watch finds out how the nodes of clusters are: each Watcher asks one node for its health, on its own clock, and sends
// what it learns as readings.
package watch

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// Watcher polls one node on its own clock. A node that hangs costs its own watcher time and nobody else.
type Watcher struct {
	cluster  string
	node     config.Node
	interval time.Duration
	timeout  time.Duration
}

// News is what a Watcher sends.
type News struct {
	From    *Watcher
	Reading decide.Reading
}

// New returns a watcher of a cluster's node. It does nothing before Run.
func New(c config.Cluster, n config.Node) *Watcher {
	return &Watcher{cluster: c.Name, node: n, interval: c.CheckInterval, timeout: c.CheckTimeout}
}

// Same tells whether w polls exactly what is wanted of it, so that it and its connection can stay.
func (w *Watcher) Same(c config.Cluster, n config.Node) bool { return *w == *New(c, n) }

// Run polls at once, then at the node's own phase of every interval, until ctx ends, and closes the poller then. Two polls never overlap.
func (w *Watcher) Run(ctx context.Context, p Poller, out chan<- News) {
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
		case out <- News{w, r}:
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
func (w *Watcher) phase() time.Duration {
	h := fnv.New64a()
	h.Write([]byte(w.cluster))
	h.Write(w.node.Address.AsSlice())
	h.Write([]byte{byte(w.node.Port >> 8), byte(w.node.Port)})
	h.Write([]byte(w.node.Path))
	return time.Duration(h.Sum64() % uint64(w.interval))
}

package balancer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// BenchmarkReconcile runs a reconcile of clusters of ten nodes each, on tables in memory: without changes, with one changed weight, and
// with every weight changed.
func BenchmarkReconcile(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10000} {
		for _, changes := range []int{0, 1, nodes} {
			b.Run(fmt.Sprintf("nodes=%d/changes=%d", nodes, changes), func(b *testing.B) {
				e := warmEngine(b, nodes/10)
				var all []nodeRef
				for _, c := range e.rec.Model.Clusters() {
					for _, n := range c.Nodes() {
						all = append(all, nodeRef{c, n})
					}
				}
				for i := 0; b.Loop(); i++ {
					for _, ref := range all[:changes] {
						ref.cluster.Observe(time.Now(), ref.node, decide.Reading{At: time.Now(), Answered: true, Health: 50 + i%2})
					}
					e.reconcile(b.Context(), reconcile.Timer)
				}
			})
		}
	}
}

// BenchmarkObserve observes a reading that changes nothing.
func BenchmarkObserve(b *testing.B) {
	for _, nodes := range []int{100, 10000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			e := warmEngine(b, nodes/10)
			clusters := e.rec.Model.Clusters()
			from := e.watchers.nodes[clusters[len(clusters)/2].Nodes()[5]].watcher
			for b.Loop() {
				e.observe(watch.Update{From: from,
					Reading: decide.Reading{At: time.Now(), Answered: true, Health: 92, Detail: "agent reported health 92"}})
			}
		})
	}
}

// warmEngine returns an engine that does not run, with running clusters whose nodes are all up.
func warmEngine(b *testing.B, clusters int) *engine {
	b.Helper()
	cfg := &config.Config{}
	for i := range clusters {
		c := webapp(fmt.Sprintf("web%d", i), uint32(i+1))
		c.VIPs[0].Address = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		for n := range 10 {
			c.Nodes = append(c.Nodes, config.Node{Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(n + 1)}), Port: 9293,
				Path: "/web/status"})
		}
		cfg.Clusters = append(cfg.Clusters, c)
	}
	e := newEngine(Options{Table: ipvs.NewMemory(), Marks: mark.NewMemory()})
	if err := e.drains.open(b.TempDir()); err != nil {
		b.Fatal(err)
	}
	e.configure(cfg)
	now := time.Now()
	e.watchers.nodes, e.watchers.ofNode = map[*cluster.Node]watched[*watch.Watcher]{}, map[*watch.Watcher]nodeRef{}
	for _, c := range e.rec.Model.Clusters() {
		e.rec.Model.Lifecycle().Run(now, c)
		for _, n := range c.Nodes() {
			w := watch.New(c.Config(), n.Config(), now, e.watchers.heartbeats) // it does not run
			e.watchers.nodes[n], e.watchers.ofNode[w] = watched[*watch.Watcher]{watcher: w}, nodeRef{c, n}
			e.observe(watch.Update{From: w, Reading: decide.Reading{At: now, Answered: true, Health: 92}})
		}
	}
	e.reconcile(b.Context(), reconcile.Startup)
	e.reconcile(b.Context(), reconcile.Timer)
	return e
}

package balancer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// BenchmarkCycle is a cycle of clusters of ten nodes each on tables in memory: one in which nothing has changed, one for a single reading that
// changes a weight, and one in which every weight has changed.
func BenchmarkCycle(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10000} {
		for _, changes := range []int{0, 1, nodes} {
			b.Run(fmt.Sprintf("nodes=%d/changes=%d", nodes, changes), func(b *testing.B) {
				e := settledEngine(b, nodes/10)
				for i := 0; b.Loop(); i++ {
					changed := 0
					for _, c := range e.clusters {
						for _, n := range c.nodes {
							if changed < changes {
								c.weigh(time.Now(), n, &decide.Reading{At: time.Now(), Answered: true, Health: 50 + i%2})
								changed++
							}
						}
					}
					e.cycle(b.Context())
				}
			})
		}
	}
}

// BenchmarkTake is what a reading costs that changes nothing.
func BenchmarkTake(b *testing.B) {
	for _, nodes := range []int{100, 10000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			e := settledEngine(b, nodes/10)
			n := e.clusters[len(e.clusters)/2].nodes[5]
			for b.Loop() {
				e.take(watch.Update{From: n.watch, Reading: decide.Reading{At: time.Now(), Answered: true, Health: 92, Detail: "health 92"}})
			}
		})
	}
}

// settledEngine is an engine that does not run, with running clusters whose nodes are all well.
func settledEngine(b *testing.B, clusters int) *engine {
	b.Helper()
	cfg := &config.Config{}
	for i := range clusters {
		c := webapp(fmt.Sprintf("web%d", i), uint32(i+1))
		c.VIPs[0].Address = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		for n := range 10 {
			c.Nodes = append(c.Nodes, config.Node{Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(n + 1)}), Port: 9293, Path: "/web/status"})
		}
		cfg.Clusters = append(cfg.Clusters, c)
	}
	e := newEngine(Options{Table: ipvs.NewMemory(), Marks: mark.NewMemory()})
	if err := e.openDrains(b.TempDir()); err != nil {
		b.Fatal(err)
	}
	e.configure(cfg)
	e.watched = map[*watch.Watcher]place{}
	for _, c := range e.clusters {
		c.running = true
		for _, n := range c.nodes {
			n.watch = watch.New(c.cfg, n.cfg, time.Now(), e.leases)
			e.watched[n.watch] = place{c, n}
			e.take(watch.Update{From: n.watch, Reading: decide.Reading{At: time.Now(), Answered: true, Health: 92}})
		}
	}
	e.cycle(b.Context())
	e.cycle(b.Context())
	return e
}

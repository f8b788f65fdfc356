package watch

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// When the balancer's own network fails, leases end one after the other. The nodes keep their weights nevertheless, but for an instant.
func TestLossOfAllNodesAtOnceIsSuspectDespiteShortLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes = 10
		ctx, cancel := context.WithCancel(t.Context())
		out, monitor := make(chan Update), NewHeartbeatMonitor()
		monitor.Expect(nodes)
		c := auto(1, 2)
		c.Name, c.CheckInterval, c.CheckTimeout = "web", 2*time.Second, time.Second
		agents, index := make([]*fakeAgent, nodes), map[*Watcher]int{}
		var running sync.WaitGroup
		for n := range nodes {
			a := &fakeAgent{mode: "up", health: 92, start: time.Now(), streams: map[net.Conn]chan string{}}
			node := config.Node{Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)}), Port: 9293, Path: "/web/status"}
			w, poller := New(c, node, time.Now(), monitor), NewHTTPPoller(node)
			poller.(*httpPoller).dial = a.dial
			agents[n], index[w] = a, n
			running.Go(func() { w.Run(ctx, poller, out) })
		}
		defer func() {
			cancel()
			running.Wait()
			for _, a := range agents {
				a.serving.Wait()
			}
		}()
		failing := time.AfterFunc(20*time.Second, func() {
			for _, a := range agents {
				a.set(func(a *fakeAgent) { a.mode, a.mute = "gone", true })
			}
		})
		defer failing.Stop()
		failed := time.Now().Add(20 * time.Second)
		group, states := decide.ClusterState{}, make([]decide.State, nodes)
		policy := decide.Policy{Suspect: decide.SuspectRule{Share: 50, Window: 5 * time.Second, Limit: time.Minute}}
		var firstOut, held time.Time
		for end := time.After(25 * time.Second); ; {
			select {
			case <-end:
				if firstOut.IsZero() || held.IsZero() || held.Sub(firstOut) > 200*time.Millisecond || held.Sub(failed) > time.Second {
					t.Errorf("failed at %s, the first node was out at %s, all weights were back at %s", failed, firstOut, held)
				}
				return
			case u := <-out:
				members := make([]decide.Member, nodes)
				for n := range states {
					in := decide.Input{Settings: decide.Settings{Rise: 1, Fall: 2}}
					if n == index[u.From] {
						in.Reading = &u.Reading
					}
					state, weight, steps := decide.Node(time.Now(), in, states[n])
					states[n] = state
					members[n] = decide.Member{Address: u.From.node.Address, Weight: weight, Steps: steps, State: &states[n]}
				}
				group, _ = decide.Cluster(time.Now(), policy, group, members)
				without := 0
				for _, m := range members {
					if m.Weight == 0 {
						without++
					}
				}
				switch {
				case time.Now().Before(failed):
				case without > 0 && firstOut.IsZero():
					firstOut = time.Now()
				case without > 0:
					held = time.Time{}
				case !firstOut.IsZero() && held.IsZero():
					held = time.Now()
				}
			}
		}
	})
}

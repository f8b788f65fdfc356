package balancer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

func TestWeightsFollowHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 40)
		b.boot(webapp("web", 7, 1, 2))
		b.want("")
		b.start("web")
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=40")

		b.fleet.set("10.0.0.2", 0) // its own word counts within an interval
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		b.fleet.set("10.0.0.1", silent) // silence counts after the second poll
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=0 10.0.0.2=0")
		b.fleet.set("10.0.0.1", 100)
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=0")
		b.wantLog("weight 92 → 0", "agent reported health 0", "no response for 2 polls (fall = 2)")
	})
}

func TestStartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1), webapp("db", 8, 1))
		b.start("web")
		if changed, err := b.engine.Start(t.Context(), "web", "test"); changed || err != nil {
			t.Errorf("second start: changed %v, %v; want neither", changed, err)
		}
		b.start("db")
		b.want("7 wlc 10.0.0.1=92\n8 wlc 10.0.0.1=92")
		if changed, err := b.engine.Stop(t.Context(), "web", "test"); !changed || err != nil {
			t.Errorf("stop: changed %v, %v", changed, err)
		}
		b.want("8 wlc 10.0.0.1=92")
		if changed, err := b.engine.Stop(t.Context(), "web", "test"); changed || err != nil {
			t.Errorf("second stop: changed %v, %v; want neither", changed, err)
		}
		var unknown *api.NoClusterError
		if _, err := b.engine.Start(t.Context(), "nope", "test"); !errors.As(err, &unknown) {
			t.Errorf("start of an unknown cluster: %v", err)
		}
		if rules, _ := b.marks.List(t.Context()); len(rules) != 2 {
			t.Errorf("marking rules %v; want those of both clusters, running or not", rules)
		}
	})
}

func TestStartWaitsForFirstReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", hangs)
		began := time.Now()
		auto := webapp("web", 7, 1, 2)
		auto.Autostart, auto.RampUpTime = true, time.Minute
		b.boot(auto)
		b.want("") // the second node has not answered yet
		b.wait(time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		if took := time.Since(began); took > 1200*time.Millisecond {
			t.Errorf("started after %s, want about check_timeout", took)
		}
	})
}

func TestAHangingNodeCostsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", hangs)
		b.fleet.set("10.0.0.2", 50)
		b.boot(webapp("web", 7, 1, 2))
		b.start("web")
		before := b.fleet.polled("10.0.0.2")
		b.wait(20 * time.Second)
		if n := b.fleet.polled("10.0.0.2") - before; n != 10 {
			t.Errorf("the other node was asked %d times in 20 s, want 10", n)
		}
		if n := b.fleet.polled("10.0.0.1"); n < 9 || n > 12 {
			t.Errorf("the hanging node was asked %d times, want about 10", n)
		}
		b.want("7 wlc 10.0.0.1=0 10.0.0.2=50")
	})
}

func TestRestartKeepsWeightsAndRamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		b.fleet.set("10.0.0.1", 100)
		b.fleet.set("10.0.0.2", 100)
		b.boot(c)
		b.start("web")
		b.fleet.set("10.0.0.2", 0)
		b.wait(3 * time.Second)
		b.fleet.set("10.0.0.2", 100)
		b.wait(52 * time.Second)
		b.kill()
		middle := b.kernel()
		calls := len(b.table.Calls())
		if !strings.Contains(middle, "10.0.0.2=5") && !strings.Contains(middle, "10.0.0.2=4") {
			t.Fatalf("in the middle of the ramp the kernel has %s", middle)
		}
		b.wait(10 * time.Second) // nobody there: the kernel goes on as it is

		b.boot(c, webapp("other", 9, 3))
		b.want(middle)
		for _, call := range b.table.Calls()[calls:] {
			if call.Operation != "dump" {
				t.Errorf("the restart did: %v", call)
			}
		}
		b.wait(55 * time.Second)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100")
		b.wantLog("cluster adopted")
	})
}

func TestAdoptionKeepsWeightsUntilReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		c := webapp("web", 7, 1, 2, 3)
		c.RampUpTime = 10 * time.Second
		b.seed(7, "rr", map[int]ipvs.Weight{1: 77, 2: 20, 9: 50})
		b.seed(99, "rr", map[int]ipvs.Weight{1: 5}) // not in the config
		if err := b.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.9"), 0, 2, 1); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			b.fleet.set(n, hangs)
		}
		b.boot(c)
		// The scheduler is edited in place, the node that is new joins at 0, the one that is gone drains.
		b.want("7 wlc 10.0.0.1=77 10.0.0.2=20 10.0.0.3=0 10.0.0.9=0\n99 rr 10.0.0.1=5")
		b.fleet.set("10.0.0.1", 30)
		b.fleet.set("10.0.0.2", 40)
		b.fleet.set("10.0.0.3", 100)
		b.wait(2 * time.Second)
		got := b.kernel()
		if !strings.Contains(got, "10.0.0.1=30") || strings.Contains(got, "10.0.0.3=100") || strings.Contains(got, "10.0.0.2=40") {
			t.Errorf("after the first readings: %s; want less at once, more in a ramp", got)
		}
		b.wait(12 * time.Second)
		b.want("7 wlc 10.0.0.1=30 10.0.0.2=40 10.0.0.3=100 10.0.0.9=0\n99 rr 10.0.0.1=5")
		if err := b.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.9"), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=30 10.0.0.2=40 10.0.0.3=100\n99 rr 10.0.0.1=5")
		if _, err := b.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Error(err)
		}
		b.want("99 rr 10.0.0.1=5")
	})
}

func TestDriftIsRepairedAndReported(t *testing.T) {
	key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	tests := []struct {
		name string
		hand func(ctx context.Context, b *bench) error
		log  string
	}{
		{"a weight", func(ctx context.Context, b *bench) error {
			return ipvs.ApplyOne(ctx, b.table, ipvs.PutDestination(key, ipvs.Destination{Address: addr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 5}))
		}, "mark 7: node 10.0.0.1 weight 5 → 92"},
		{"a node", func(ctx context.Context, b *bench) error {
			return ipvs.ApplyOne(ctx, b.table, ipvs.DeleteDestination(key, addr("10.0.0.1"), 0))
		},
			"mark 7: add node 10.0.0.1 weight 92, tunnel"},
		{"the service", func(ctx context.Context, b *bench) error { return ipvs.ApplyOne(ctx, b.table, ipvs.DeleteService(key)) }, "mark 7: add service, scheduler wlc"},
		{"the scheduler", func(ctx context.Context, b *bench) error {
			return ipvs.ApplyOne(ctx, b.table, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "rr"}))
		}, "mark 7: service scheduler rr → wlc"},
		{"the marking rules", func(ctx context.Context, b *bench) error { return b.marks.Remove(ctx) }, "mark 7: add tcp 204.109.13.7:7 on eth10"},
		{"a marking rule more", func(ctx context.Context, b *bench) error {
			rules, err := b.marks.List(ctx)
			return errors.Join(err, b.marks.Set(ctx, append(rules, mark.Rule{Address: addr("204.109.13.7"), Protocol: "tcp", Port: 99, Mark: 3})))
		}, "mark 3: remove tcp 204.109.13.7:99"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.fleet.set("10.0.0.1", 92)
				b.fleet.set("10.0.0.2", 40)
				b.boot(webapp("web", 7, 1, 2))
				b.start("web")
				if strings.Contains(b.log.String(), "drift") {
					t.Fatalf("drift before anybody did anything:\n%s", b.log)
				}
				if err := tt.hand(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				wait := 2 * time.Second
				if strings.Contains(tt.name, "marking") {
					wait *= reconcile.MarkIntervals
				}
				b.engine.Status(t.Context()) // looking must not hide it
				b.wait(wait + minGap)
				b.want("7 wlc 10.0.0.1=92 10.0.0.2=40")
				if rules, _ := b.marks.List(t.Context()); len(rules) != 1 || rules[0].Mark != 7 {
					t.Errorf("marking rules %v", rules)
				}
				b.wantLog("drift repaired", tt.log)
			})
		})
	}
}

func TestWhatWasAskedComesBeforeDriftIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.start("web")
		wake := b.hang()
		// A cluster manager asks for a stop, gets no answer, and takes the service out by itself.
		stopped := make(chan error, 1)
		go func() { _, err := b.engine.Stop(context.Background(), "web", "test"); stopped <- err }()
		b.wait(10 * time.Second) // a cycle is long due
		if err := ipvs.ApplyOne(t.Context(), b.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		before := len(b.table.Calls())
		wake()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		b.want("")
		for _, c := range b.table.Calls()[before:] {
			if c.Operation != "dump" {
				t.Errorf("after the stop was asked for, the engine did: %v", c)
			}
		}
	})
}

// TestWhatWasAskedOfAStoppedProcessComesBeforeDriftIsRepaired is about a stop that lies in a socket when the process goes on: it is read a little later
// than the engine wakes.
func TestWhatWasAskedOfAStoppedProcessComesBeforeDriftIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.start("web")
		wake := b.hang()
		b.wait(10 * time.Second)
		if err := ipvs.ApplyOne(t.Context(), b.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		before := len(b.table.Calls())
		wake()
		b.wait(catchUp / 2)
		if _, err := b.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Error(err)
		}
		b.want("")
		for _, c := range b.table.Calls()[before:] {
			if c.Operation != "dump" {
				t.Errorf("before the stop was read, the engine did: %v", c)
			}
		}
	})
}

func TestAStoppedProcessRepairsSoonAfterItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.start("web")
		wake := b.hang()
		b.wait(10 * time.Second)
		if err := ipvs.ApplyOne(t.Context(), b.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		wake()
		b.wait(catchUp + minGap)
		b.want("7 wlc 10.0.0.1=92")
	})
}

func TestKernelErrorsAreShownAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.start("web")
		refusal := errors.New("device or resource busy")
		b.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put destination" {
				return refusal
			}
			return nil
		})
		b.fleet.set("10.0.0.1", 10)
		b.wait(8 * time.Second)
		b.want("7 wlc 10.0.0.1=92")
		c := b.engine.Status(t.Context()).Clusters[0]
		if c.Nodes[0].Weight != 10 || *c.Nodes[0].KernelWeight != 92 || c.CombinedWeight != 92 || !strings.Contains(c.LastError, "resource busy") {
			t.Errorf("status %+v; want weight 10, the kernel's 92, and why", c)
		}
		if n := b.engine.Status(t.Context()).KernelErrors; n < 3 {
			t.Errorf("%d kernel errors counted, want one a cycle", n)
		}
		if n := strings.Count(b.log.String(), "kernel error"); n != 1 {
			t.Errorf("the refusal was logged %d times, want once:\n%s", n, b.log)
		}
		b.table.SetFault(func(ipvs.Call) error { return refusal })
		b.wait(4 * time.Second)
		if c := b.engine.Status(t.Context()).Clusters[0]; !strings.Contains(c.LastError, "dump the load-balancing table") {
			t.Errorf("last_error %q with a table that cannot be read", c.LastError)
		}
		b.table.SetFault(nil)
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=10")
		if c := b.engine.Status(t.Context()).Clusters[0]; c.LastError != "" || *c.Nodes[0].KernelWeight != 10 {
			t.Errorf("after kernel error resolved: %+v", c)
		}
	})
}

func TestAStartOrStopThatTheKernelRefusesSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put service" || c.Operation == "delete service" {
				return errors.New("no room")
			}
			return nil
		})
		if _, err := b.engine.Start(t.Context(), "web", "test"); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("start: %v", err)
		}
		b.table.SetFault(nil)
		b.wait(2*time.Second + minGap)
		b.want("7 wlc 10.0.0.1=92") // it goes on trying

		b.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "delete service" {
				return errors.New("no way")
			}
			return nil
		})
		if _, err := b.engine.Stop(t.Context(), "web", "test"); err == nil || !strings.Contains(err.Error(), "no way") {
			t.Errorf("stop: %v", err)
		}
		b.table.SetFault(nil)
		b.wait(2*time.Second + minGap)
		b.want("")
	})
}

func TestManyChangesShareACycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var nodes []int
		for n := 1; n <= 200; n++ {
			nodes = append(nodes, n)
			b.fleet.set(fmt.Sprintf("10.0.0.%d", n), 100)
		}
		b.boot(webapp("web", 7, nodes...))
		b.start("web")
		for _, n := range nodes {
			b.fleet.set(fmt.Sprintf("10.0.0.%d", n), 50)
		}
		before := len(b.table.Calls())
		b.wait(2*time.Second + minGap)
		edits, dumps := 0, 0
		for _, c := range b.table.Calls()[before:] {
			switch c.Operation {
			case "put destination":
				edits++
			case "dump":
				dumps++
			}
		}
		if edits != 200 || dumps > 2*(2000/20+4) {
			t.Errorf("%d edits and %d dumps for 200 changes; want one edit each, and dumps bounded by the pause between cycles", edits, dumps)
		}
	})
}

func TestATableThatCannotBeReadAtTheStartIsAdoptedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.seed(7, "wlc", map[int]ipvs.Weight{1: 30})
		b.fleet.set("10.0.0.1", 100)
		c, other := webapp("web", 7, 1), webapp("other", 8, 1)
		c.Autostart, c.RampUpTime = true, 100*time.Second
		b.table.SetFault(func(ipvs.Call) error { return errBusy })
		b.boot(c, other)
		if _, err := b.engine.Start(t.Context(), "other", "test"); err == nil || !strings.Contains(err.Error(), "busy") {
			t.Errorf("start with a table that cannot be read: %v", err)
		}
		b.wait(10 * time.Second)
		b.table.SetFault(nil)
		b.wait(2*time.Second + minGap)
		// It ran before, so it goes on from the weight it had; what was asked for meanwhile is done.
		if got := b.kernel(); !strings.HasPrefix(got, "7 wlc 10.0.0.1=3") || !strings.HasSuffix(got, "8 wlc 10.0.0.1=100") {
			t.Errorf("the kernel has\n%s\nlog:\n%s", got, b.log)
		}
	})
}

func TestAMarkThatSomebodyElseSetUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.boot(webapp("web", 7, 1), webapp("db", 8, 1))
		b.seed(7, "rr", map[int]ipvs.Weight{9: 5})
		b.seed(8, "rr", map[int]ipvs.Weight{9: 5})
		b.wait(10 * time.Second)
		b.want("7 rr 10.0.0.9=5\n8 rr 10.0.0.9=5") // a cluster that does not run is left alone
		if n := strings.Count(b.log.String(), "a cluster that lb did not start"); n != 2 {
			t.Errorf("reported %d times, want once for each:\n%s", n, b.log)
		}
		b.start("web")
		b.want("7 wlc 10.0.0.1=100 10.0.0.9=0\n8 rr 10.0.0.9=5")
		if changed, err := b.engine.Stop(t.Context(), "db", "test"); !changed || err != nil {
			t.Errorf("stop: changed %v, %v", changed, err)
		}
		b.want("7 wlc 10.0.0.1=100") // the stranger had no connections left
	})
}

func TestStandbyTakesOverWithTrueWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 0)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		b.boot(c)
		b.wait(time.Minute)
		b.fleet.set("10.0.0.2", 70)
		b.wait(3 * time.Second)
		began := time.Now()
		b.start("web")
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=70")
		if took := time.Since(began); took > 0 {
			t.Errorf("the start took %s, though every node is known", took)
		}
	})
}

func TestTheFirstChangeAfterAQuietTimeWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 92)
		b.boot(webapp("web", 7, 1, 2))
		b.start("web")
		b.wait(time.Minute)
		var watchers []*watch.Watcher
		for _, n := range b.engine.rec.Model.Clusters()[0].Nodes() {
			watchers = append(watchers, b.engine.watchers.nodes[n].watcher)
		}
		tell := func(node, health int) {
			b.engine.watchers.updates <- watch.Update{From: watchers[node], Reading: decide.Reading{At: time.Now(), Answered: true, Health: health}}
			synctest.Wait()
		}
		// Right behind a cycle of the clock's, which is no reason to wait.
		var next time.Time
		if err := b.engine.do(t.Context(), func(context.Context) { next = b.engine.schedule.last.Add(b.engine.rec.Model.Interval()) }); err != nil {
			t.Fatal(err)
		}
		b.wait(time.Until(next) + time.Millisecond)
		tell(0, 40)
		b.want("7 wlc 10.0.0.1=40 10.0.0.2=92")
		b.wait(time.Millisecond)
		tell(1, 30) // the next one shares its cycle with whoever comes within a minGap
		tell(0, 20)
		b.want("7 wlc 10.0.0.1=40 10.0.0.2=92")
		b.wait(minGap)
		b.want("7 wlc 10.0.0.1=20 10.0.0.2=30")
	})
}

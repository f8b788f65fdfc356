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
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.boot(webapp("web", 7, 1, 2))
		r.wantTable("")
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40")

		r.fleet.set("10.0.0.2", 0) // health that the agent reports counts at the next poll
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		r.fleet.set("10.0.0.1", connRefused) // no response counts after two polls
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0")
		r.fleet.set("10.0.0.1", 100)
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=0")
		r.wantLog("weight 92 → 0", "agent reported health 0", "no response for 2 polls (fall = 2)")
	})
}

func TestStartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1), webapp("db", 8, 1))
		r.start("web")
		if changed, err := r.engine.Start(t.Context(), "web", "test"); changed || err != nil {
			t.Errorf("second start: changed %v, %v; want neither", changed, err)
		}
		r.start("db")
		r.wantTable("7 wlc 10.0.0.1=92\n8 wlc 10.0.0.1=92")
		if changed, err := r.engine.Stop(t.Context(), "web", "test"); !changed || err != nil {
			t.Errorf("stop: changed %v, %v", changed, err)
		}
		r.wantTable("8 wlc 10.0.0.1=92")
		if changed, err := r.engine.Stop(t.Context(), "web", "test"); changed || err != nil {
			t.Errorf("second stop: changed %v, %v; want neither", changed, err)
		}
		var unknown *api.NoClusterError
		if _, err := r.engine.Start(t.Context(), "nope", "test"); !errors.As(err, &unknown) {
			t.Errorf("start of an unknown cluster: %v", err)
		}
		if rules, _ := r.marks.List(t.Context()); len(rules) != 2 {
			t.Errorf("marking rules %v; want those of both clusters, running or not", rules)
		}
	})
}

func TestStartWaitsForFirstReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", timesOut)
		start := time.Now()
		auto := webapp("web", 7, 1, 2)
		auto.Autostart, auto.RampUpTime = true, time.Minute
		r.boot(auto)
		r.wantTable("") // the second node has not responded yet
		r.wait(time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		if took := time.Since(start); took > 1200*time.Millisecond {
			t.Errorf("started after %s, want about check_timeout", took)
		}
	})
}

func TestAHangingNodeDoesNotDelayOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", timesOut)
		r.fleet.set("10.0.0.2", 50)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		before := r.fleet.polled("10.0.0.2")
		r.wait(20 * time.Second)
		if n := r.fleet.polled("10.0.0.2") - before; n != 10 {
			t.Errorf("the other node was polled %d times in 20 s, want 10", n)
		}
		if n := r.fleet.polled("10.0.0.1"); n < 9 || n > 12 {
			t.Errorf("the hanging node was polled %d times, want about 10", n)
		}
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=50")
	})
}

func TestRestartKeepsWeightsAndRamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		r.fleet.set("10.0.0.1", 100)
		r.fleet.set("10.0.0.2", 100)
		r.boot(c)
		r.start("web")
		r.fleet.set("10.0.0.2", 0)
		r.wait(3 * time.Second)
		r.fleet.set("10.0.0.2", 100)
		r.wait(52 * time.Second)
		r.kill()
		middle := r.dump()
		calls := len(r.table.Calls())
		if !strings.Contains(middle, "10.0.0.2=5") && !strings.Contains(middle, "10.0.0.2=4") {
			t.Fatalf("halfway through the ramp the kernel has %s", middle)
		}
		r.wait(10 * time.Second) // without lb, the kernel keeps the weights

		r.boot(c, webapp("other", 9, 3))
		r.wantTable(middle)
		for _, call := range r.table.Calls()[calls:] {
			if call.Operation != "dump" {
				t.Errorf("the restart called: %v", call)
			}
		}
		r.wait(55 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100")
		r.wantLog("cluster adopted")
	})
}

func TestAdoptionKeepsWeightsUntilReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1, 2, 3)
		c.RampUpTime = 10 * time.Second
		r.seed(7, "rr", map[int]ipvs.Weight{1: 77, 2: 20, 9: 50})
		r.seed(99, "rr", map[int]ipvs.Weight{1: 5}) // not in the config
		if err := r.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.9"), 0, 2, 1); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			r.fleet.set(n, timesOut)
		}
		r.boot(c)
		// lb edits the scheduler in place, adds the new node at weight 0, and drains the one that left.
		r.wantTable("7 wlc 10.0.0.1=77 10.0.0.2=20 10.0.0.3=0 10.0.0.9=0\n99 rr 10.0.0.1=5")
		r.fleet.set("10.0.0.1", 30)
		r.fleet.set("10.0.0.2", 40)
		r.fleet.set("10.0.0.3", 100)
		r.wait(2 * time.Second)
		got := r.dump()
		if !strings.Contains(got, "10.0.0.1=30") || strings.Contains(got, "10.0.0.3=100") || strings.Contains(got, "10.0.0.2=40") {
			t.Errorf("after the first readings: %s; want lower weights at once and higher ones in a ramp", got)
		}
		r.wait(12 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=40 10.0.0.3=100 10.0.0.9=0\n99 rr 10.0.0.1=5")
		if err := r.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.9"), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=40 10.0.0.3=100\n99 rr 10.0.0.1=5")
		if _, err := r.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Error(err)
		}
		r.wantTable("99 rr 10.0.0.1=5")
	})
}

func TestDriftIsRepairedAndReported(t *testing.T) {
	key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	tests := []struct {
		name   string
		change func(ctx context.Context, r *rig) error
		log    string
	}{
		{"a weight", func(ctx context.Context, r *rig) error {
			return ipvs.ApplyOne(ctx, r.table, ipvs.PutDestination(key,
				ipvs.Destination{Address: addr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 5}))
		}, "mark 7: node 10.0.0.1 weight 5 → 92"},
		{"a node", func(ctx context.Context, r *rig) error {
			return ipvs.ApplyOne(ctx, r.table, ipvs.DeleteDestination(key, addr("10.0.0.1"), 0))
		},
			"mark 7: add node 10.0.0.1 weight 92, tunnel"},
		{"the service", func(ctx context.Context, r *rig) error { return ipvs.ApplyOne(ctx, r.table, ipvs.DeleteService(key)) },
			"mark 7: add service, scheduler wlc"},
		{"the scheduler", func(ctx context.Context, r *rig) error {
			return ipvs.ApplyOne(ctx, r.table, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "rr"}))
		}, "mark 7: service scheduler rr → wlc"},
		{"the marking rules", func(ctx context.Context, r *rig) error { return r.marks.Remove(ctx) },
			"mark 7: add tcp 204.109.13.7:7 on eth10"},
		{"an additional marking rule", func(ctx context.Context, r *rig) error {
			rules, err := r.marks.List(ctx)
			return errors.Join(err, r.marks.Set(ctx,
				append(rules, mark.Rule{Address: addr("204.109.13.7"), Protocol: "tcp", Port: 99, Mark: 3})))
		}, "mark 3: remove tcp 204.109.13.7:99"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fleet.set("10.0.0.1", 92)
				r.fleet.set("10.0.0.2", 40)
				r.boot(webapp("web", 7, 1, 2))
				r.start("web")
				if strings.Contains(r.log.String(), "drift") {
					t.Fatalf("drift before any change:\n%s", r.log)
				}
				if err := tt.change(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				wait := 2 * time.Second
				if strings.Contains(tt.name, "marking") {
					wait *= reconcile.MarkIntervals
				}
				r.engine.Status(t.Context()) // reading the status must not hide drift
				r.wait(wait + minGap)
				r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40")
				if rules, _ := r.marks.List(t.Context()); len(rules) != 1 || rules[0].Mark != 7 {
					t.Errorf("marking rules %v", rules)
				}
				r.wantLog("drift repaired", tt.log)
			})
		})
	}
}

func TestAnOrderRunsBeforeDriftIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		unblock := r.block()
		// A cluster manager orders a stop, gets no response, and removes the service itself.
		stopped := make(chan error, 1)
		go func() { _, err := r.engine.Stop(context.Background(), "web", "test"); stopped <- err }()
		r.wait(10 * time.Second) // a reconcile is overdue
		if err := ipvs.ApplyOne(t.Context(), r.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		before := len(r.table.Calls())
		unblock()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		r.wantTable("")
		for _, c := range r.table.Calls()[before:] {
			if c.Operation != "dump" {
				t.Errorf("after the stop was ordered, the engine called: %v", c)
			}
		}
	})
}

// TestAnOrderToASuspendedProcessRunsBeforeDriftIsRepaired has a stop that is still in a socket when the process continues: it arrives a
// little after the engine wakes.
func TestAnOrderToASuspendedProcessRunsBeforeDriftIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		unblock := r.block()
		r.wait(10 * time.Second)
		if err := ipvs.ApplyOne(t.Context(), r.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		before := len(r.table.Calls())
		unblock()
		r.wait(catchUp / 2)
		if _, err := r.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Error(err)
		}
		r.wantTable("")
		for _, c := range r.table.Calls()[before:] {
			if c.Operation != "dump" {
				t.Errorf("before the stop arrived, the engine called: %v", c)
			}
		}
	})
}

func TestASuspendedProcessRepairsDriftSoonAfterItContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		unblock := r.block()
		r.wait(10 * time.Second)
		if err := ipvs.ApplyOne(t.Context(), r.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		unblock()
		r.wait(catchUp + minGap)
		r.wantTable("7 wlc 10.0.0.1=92")
	})
}

func TestKernelErrorsAreReportedAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put destination" {
				return errBusy
			}
			return nil
		})
		r.fleet.set("10.0.0.1", 10)
		r.wait(8 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92")
		c := r.engine.Status(t.Context()).Clusters[0]
		if c.Nodes[0].Weight != 10 || *c.Nodes[0].KernelWeight != 92 || c.CombinedWeight != 92 ||
			!strings.Contains(c.LastError, "resource busy") {
			t.Errorf("status %+v; want weight 10, the kernel's weight 92, and the error", c)
		}
		if n := r.engine.Status(t.Context()).KernelErrors; n < 3 {
			t.Errorf("%d kernel errors counted, want one for each reconcile", n)
		}
		if n := strings.Count(r.log.String(), "kernel error"); n != 1 {
			t.Errorf("the kernel error was logged %d times, want once:\n%s", n, r.log)
		}
		r.table.SetFault(func(ipvs.Call) error { return errBusy })
		r.wait(4 * time.Second)
		if c := r.engine.Status(t.Context()).Clusters[0]; !strings.Contains(c.LastError, "dump the load-balancing table") {
			t.Errorf("last_error %q with a table that cannot be read", c.LastError)
		}
		r.table.SetFault(nil)
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=10")
		if c := r.engine.Status(t.Context()).Clusters[0]; c.LastError != "" || *c.Nodes[0].KernelWeight != 10 {
			t.Errorf("after the kernel error was resolved: %+v", c)
		}
	})
}

func TestAStartOrStopThatTheKernelRejectsReturnsItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put service" || c.Operation == "delete service" {
				return errors.New("no room")
			}
			return nil
		})
		if _, err := r.engine.Start(t.Context(), "web", "test"); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("start: %v", err)
		}
		r.table.SetFault(nil)
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=92") // lb retries

		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "delete service" {
				return errors.New("no way")
			}
			return nil
		})
		if _, err := r.engine.Stop(t.Context(), "web", "test"); err == nil || !strings.Contains(err.Error(), "no way") {
			t.Errorf("stop: %v", err)
		}
		r.table.SetFault(nil)
		r.wait(2*time.Second + minGap)
		r.wantTable("")
	})
}

func TestManyChangesShareAReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var nodes []int
		for n := 1; n <= 200; n++ {
			nodes = append(nodes, n)
			r.fleet.set(fmt.Sprintf("10.0.0.%d", n), 100)
		}
		r.boot(webapp("web", 7, nodes...))
		r.start("web")
		for _, n := range nodes {
			r.fleet.set(fmt.Sprintf("10.0.0.%d", n), 50)
		}
		before := len(r.table.Calls())
		r.wait(2*time.Second + minGap)
		edits, dumps := 0, 0
		for _, c := range r.table.Calls()[before:] {
			switch c.Operation {
			case "put destination":
				edits++
			case "dump":
				dumps++
			}
		}
		if edits != 200 || dumps > 2*(2000/20+4) {
			t.Errorf("%d edits and %d dumps for 200 changes; want one edit each, and dumps limited by the minimum gap between reconciles",
				edits, dumps)
		}
	})
}

func TestATableThatCannotBeReadAtStartupIsAdoptedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.seed(7, "wlc", map[int]ipvs.Weight{1: 30})
		r.fleet.set("10.0.0.1", 100)
		c, other := webapp("web", 7, 1), webapp("other", 8, 1)
		c.Autostart, c.RampUpTime = true, 100*time.Second
		r.table.SetFault(func(ipvs.Call) error { return errBusy })
		r.boot(c, other)
		if _, err := r.engine.Start(t.Context(), "other", "test"); err == nil || !strings.Contains(err.Error(), "busy") {
			t.Errorf("start with a table that cannot be read: %v", err)
		}
		r.wait(10 * time.Second)
		r.table.SetFault(nil)
		r.wait(2*time.Second + minGap)
		// web ran before, so its node ramps up from the weight that it had. Cluster other starts, as ordered meanwhile.
		if got := r.dump(); !strings.HasPrefix(got, "7 wlc 10.0.0.1=3") || !strings.HasSuffix(got, "8 wlc 10.0.0.1=100") {
			t.Errorf("the kernel has\n%s\nlog:\n%s", got, r.log)
		}
	})
}

func TestAMarkThatAnotherProgramSetUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.boot(webapp("web", 7, 1), webapp("db", 8, 1))
		r.seed(7, "rr", map[int]ipvs.Weight{9: 5})
		r.seed(8, "rr", map[int]ipvs.Weight{9: 5})
		r.wait(10 * time.Second)
		r.wantTable("7 rr 10.0.0.9=5\n8 rr 10.0.0.9=5") // lb does not touch the marks of a stopped cluster
		if n := strings.Count(r.log.String(), "a cluster that lb did not start"); n != 2 {
			t.Errorf("reported %d times, want once for each:\n%s", n, r.log)
		}
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.9=0\n8 rr 10.0.0.9=5")
		if changed, err := r.engine.Stop(t.Context(), "db", "test"); !changed || err != nil {
			t.Errorf("stop: changed %v, %v", changed, err)
		}
		r.wantTable("7 wlc 10.0.0.1=100") // 10.0.0.9 had no connections left
	})
}

func TestAStandbyTakesOverWithCurrentWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 0)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		r.boot(c)
		r.wait(time.Minute)
		r.fleet.set("10.0.0.2", 70)
		r.wait(3 * time.Second)
		start := time.Now()
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=70")
		if took := time.Since(start); took > 0 {
			t.Errorf("the start took %s, although every node has a reading", took)
		}
	})
}

func TestTheFirstChangeAfterAQuietPeriodDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 92)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		r.wait(time.Minute)
		var watchers []*watch.Watcher
		for _, n := range r.engine.rec.Model.Clusters()[0].Nodes() {
			watchers = append(watchers, r.engine.watchers.nodes[n].watcher)
		}
		observe := func(node, health int) {
			r.engine.watchers.updates <- watch.Update{From: watchers[node],
				Reading: decide.Reading{At: time.Now(), Answered: true, Health: health}}
			synctest.Wait()
		}
		// Right after a reconcile by the timer: minGap counts from the last reconcile by a reading.
		var next time.Time
		err := r.engine.do(t.Context(), func(context.Context) {
			next = r.engine.schedule.last.Add(r.engine.rec.Model.Interval())
		})
		if err != nil {
			t.Fatal(err)
		}
		r.wait(time.Until(next) + time.Millisecond)
		observe(0, 40)
		r.wantTable("7 wlc 10.0.0.1=40 10.0.0.2=92")
		r.wait(time.Millisecond)
		observe(1, 30) // waits, and shares a reconcile with what changes within minGap
		observe(0, 20)
		r.wantTable("7 wlc 10.0.0.1=40 10.0.0.2=92")
		r.wait(minGap)
		r.wantTable("7 wlc 10.0.0.1=20 10.0.0.2=30")
	})
}

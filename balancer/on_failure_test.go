package balancer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// removing is a cluster of the nodes 10.0.0.N that removes those that fail.
func removing(nodes ...int) config.Cluster {
	c := webapp("web", 7, nodes...)
	c.OnFailure = config.RemoveFailed
	return c
}

func TestAFailedNodeIsRemovedUntilItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		c := withRelay("web", 7, 1, 2)
		c.OnFailure, c.RampUpTime = config.RemoveFailed, 10*time.Second
		r.boot(c)
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40\n10007 wlc 10.0.0.1=92 10.0.0.2=40")
		r.wait(10 * time.Second)
		last := r.engine.rec.Report.Journal.Last()
		r.fleet.set("10.0.0.2", connRefused)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92\n10007 wlc 10.0.0.1=92")
		r.wantEvents("a failure", last,
			"node_down web 10.0.0.2 up>down 1/2", "node_removed web 10.0.0.2 40>", "node_removed web 10.0.0.2 40>")
		n := r.status("web").Nodes[1]
		const why = "connection refused; removed from the kernel's table until it is back (on_failure = remove)"
		if n.KernelWeight != nil || n.State != "down" || n.Weight != 0 || !strings.HasSuffix(n.Why, why) {
			t.Errorf("status %+v", n)
		}
		if last := n.Steps[len(n.Steps)-1]; last.Name != "on failure" {
			t.Errorf("the last step is %+v", last)
		}
		if strings.Contains(r.log.String(), "drift") {
			t.Errorf("a removal is reported as drift:\n%s", r.log)
		}
		if err := ipvs.ApplyOne(t.Context(), r.table, ipvs.PutDestination(ipvs.Key{Mark: 7, Family: ipvs.IPv4},
			ipvs.Destination{Address: addr("10.0.0.2"), Forwarding: ipvs.Tunnel, Weight: 5})); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92\n10007 wlc 10.0.0.1=92")
		r.wantLog("drift repaired")

		r.kill() // the next process does not add it at weight 0 before it responds
		r.boot(c)
		r.wait(time.Second)
		r.wantTable("7 wlc 10.0.0.1=92\n10007 wlc 10.0.0.1=92")
		r.fleet.set("10.0.0.2", 40)
		r.waitForReadings()
		if got := r.dump(); !strings.Contains(got, "10.0.0.2=") || r.status("web").Nodes[1].State != "ramping" {
			t.Errorf("it is back: %s, %s", got, r.status("web").Nodes[1].State)
		}
		r.wait(10 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40\n10007 wlc 10.0.0.1=92 10.0.0.2=40")
	})
}

// A removal does not wait for the table to be read.
func TestARemovalIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.boot(removing(1, 2))
		r.start("web")
		r.wait(2 * minGap)
		calls := len(r.table.Calls())
		r.observe(r.engine, 0, "10.0.0.2")
		synctest.Wait()
		if got := r.callsSince(calls); !strings.HasPrefix(got, "delete destination 10.0.0.2, dump") {
			t.Errorf("the kernel got %s", got)
		}
		r.wait(10 * time.Second)
		if strings.Contains(r.log.String(), "drift") {
			t.Errorf("the removal is reported as drift:\n%s", r.log)
		}
	})
}

func TestPlannedAbsencesStayInTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.fleet.set("10.0.0.3", 70)
		r.boot(removing(1, 2, 3))
		r.start("web")
		r.drain("10.0.0.2")
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0 10.0.0.3=70")
		r.fleet.set("10.0.0.2", timesOut) // the drained node dies
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.3=70")
		if n := r.status("web").Nodes[1]; n.State != "drained" || !strings.Contains(n.Why, "removed") {
			t.Errorf("status %+v", n)
		}
		r.fleet.set("10.0.0.2", 40) // and comes back, drained still
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0 10.0.0.3=70")
		r.setConns(7, "10.0.0.3", 1, 0)
		if err := r.reload(removing(1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(5 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0 10.0.0.3=0") // what leaves the configuration keeps its connections
	})
}

func TestANodeThatIsAddedWaitsForItsFirstResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", timesOut)
		r.boot(removing(1))
		r.start("web")
		r.setConns(7, "10.0.0.1", 1, 0)
		p := r.checkedPlan(&config.Config{Clusters: []config.Cluster{removing(1, 2)}})
		if got := p.String(); !strings.Contains(got, "node 10.0.0.2: its weight depends on its first response") {
			t.Errorf("plan %s", got)
		}
		if err := r.reload(removing(1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=92")
		r.fleet.set("10.0.0.2", 40)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40")
	})
}

// A node that leaves the configuration, and is added again while it still has connections, keeps them.
func TestALeavingNodeThatIsAddedAgainStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.boot(removing(1, 2))
		r.start("web")
		r.setConns(7, "10.0.0.2", 1, 0)
		calls := len(r.table.Calls())
		if err := r.reload(removing(1)); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		if err := r.reload(removing(1, 2)); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40")
		if got := r.callsSince(calls); strings.Contains(got, "delete destination") {
			t.Errorf("it was removed in between: %s", got)
		}
	})
}

// A reload that changes the policy applies it to nodes that have failed already. A plan says that their connections break.
func TestAReloadChangesThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 0)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		r.setConns(7, "10.0.0.2", 12, 3)
		p := r.checkedPlan(&config.Config{Clusters: []config.Cluster{removing(1, 2)}})
		if got := p.String(); !strings.Contains(got, "remove node 10.0.0.2") || !strings.Contains(got, "break") {
			t.Errorf("plan %s", got)
		}
		if err := r.reload(removing(1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=92")
		if err := r.reload(webapp("web", 7, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
	})
}

// Another data centre's balancer that is silent, or no longer listed, takes no connections any more.
func TestARemoteBalancerThatLeavesIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.sites.set(1, "10.9.0.1=80 dc2", "10.9.0.2=60 dc3")
		c := withSites("web", 7, []int{1}, 1)
		c.OnFailure = config.RemoveFailed
		r.boot(c)
		const relay = "\n10007 wlc 10.0.0.1=100"
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60" + relay)
		r.setConns(7, "10.9.0.1", 3, 0)
		r.setConns(7, "10.9.0.2", 3, 0)
		r.sites.set(1, "10.9.0.2=60 dc3")
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.2=60" + relay)
		r.wantLog("remove node 10.9.0.1", "does not list it")
		r.sites.setUnreachable(1)
		r.wait(4 * sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100" + relay)
	})
}

func TestTheDownpageLeavesWhenANodeIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", connRefused)
		c := removing(1)
		c.AllDown = config.ToPage
		r.boot(c)
		r.start("web")
		r.wantTable("7 wlc 169.254.254.254=1")
		r.setConns(7, "169.254.254.254", 1, 0)
		r.fleet.set("10.0.0.1", 92)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=92")
		if _, err := r.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Fatal(err)
		}
		r.fleet.set("10.0.0.1", connRefused)
		r.waitForReadings()
		if why := r.status("web").Nodes[0].Why; strings.Contains(why, "removed") {
			t.Errorf("of a stopped cluster: %s", why)
		}
	})
}

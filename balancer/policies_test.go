package balancer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// activePassive is an active/passive cluster of the nodes 10.0.0.N, with the priorities 0, 1, 2 … in the order of the list.
func activePassive(nodes ...int) config.Cluster {
	c := webapp("web", 7, nodes...)
	c.Mode, c.RampUpTime = config.ActivePassive, time.Minute
	for i := range c.Nodes {
		c.Nodes[i].Priority = i
	}
	return c
}

// waitForReadings waits until the nodes' current health is in the kernel, even for nodes that do not respond.
func (r *rig) waitForReadings() { r.wait(6*time.Second + minGap) }

// status returns a cluster's status.
func (r *rig) status(name string) api.ClusterStatus {
	r.t.Helper()
	for _, c := range r.engine.Status(r.t.Context()).Clusters {
		if c.Name == name {
			return c
		}
	}
	r.t.Fatalf("no cluster %s", name)
	return api.ClusterStatus{}
}

// big_brother's faults here: it starts on the wrong node, edits nodes that are not in the table, leaks the relay service, sorts addresses
// as text, and counts passive nodes.
func TestActivePassive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.fleet.set("10.0.0.2", 90)
		r.boot(activePassive(2, 1)) // the second address has the first priority
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=90")
		if s := r.status("web"); s.CombinedWeight != 90 || s.Nodes[1].State != "passive" || s.Nodes[0].State != "up" {
			t.Errorf("combined weight %d, states %s and %s; want 90, up and passive", s.CombinedWeight, s.Nodes[0].State, s.Nodes[1].State)
		}
		r.fleet.set("10.0.0.2", connRefused)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=0")
		r.fleet.set("10.0.0.2", 80) // it recovers and gets the traffic back, without a ramp
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=80")
		calls := len(r.table.Calls())
		r.fleet.set("10.0.0.1", 50) // a passive node's health changes nothing
		r.waitForReadings()
		for _, call := range r.table.Calls()[calls:] {
			if call.Operation != "dump" {
				t.Errorf("a passive node's health caused: %v", call)
			}
		}
		r.fleet.set("10.0.0.1", 0)
		r.fleet.set("10.0.0.2", 0)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0")
		r.fleet.set("10.0.0.1", 70)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=70 10.0.0.2=0")
		r.drain("10.0.0.1")
		r.fleet.set("10.0.0.2", 60)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=60")
		if _, err := r.engine.Stop(t.Context(), "web", "test"); err != nil {
			t.Error(err)
		}
		r.wantTable("")
	})
}

func TestActivePassiveTiesAreBrokenByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := activePassive(10, 9)
		c.Nodes[0].Priority, c.Nodes[1].Priority = 3, 3
		r.fleet.set("10.0.0.9", 100)
		r.fleet.set("10.0.0.10", 100)
		r.seed(7, "wlc", map[int]ipvs.Weight{10: 100}) // an earlier run of lb, or big_brother, used the other node
		r.boot(c)
		r.wantTable("7 wlc 10.0.0.9=100 10.0.0.10=0")
	})
}

func TestDownpage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1, 2)
		c.AllDown = config.ToPage
		r.fleet.set("10.0.0.1", 100)
		r.fleet.set("10.0.0.2", 100)
		r.boot(c)
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100")
		r.fleet.set("10.0.0.1", 0)
		r.fleet.set("10.0.0.2", 0)
		r.waitForReadings()
		const allDown = "7 wlc 10.0.0.1=0 10.0.0.2=0 169.254.254.254=1"
		r.wantTable(allDown)
		s := r.status("web")
		if s.CombinedWeight != 0 || len(s.Nodes) != 2 || s.Downpage == nil || *s.Downpage.KernelWeight != 1 ||
			s.Notice != "no node has weight: the downpage answers" {
			t.Errorf("combined weight %d, %d nodes, downpage %+v, notice %q", s.CombinedWeight, len(s.Nodes), s.Downpage, s.Notice)
		}
		r.wantLog("cluster degraded", "add node 169.254.254.254 weight 1", `cause="no node has weight: the downpage answers"`)

		// A reload and a restart leave the downpage in the table. lb removes it when a node recovers, even during a reload.
		calls := len(r.table.Calls())
		if err := r.reload(c); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.kill()
		r.boot(c)
		r.waitForReadings()
		r.wantTable(allDown)
		for _, call := range r.table.Calls()[calls:] {
			if call.Operation != "dump" {
				t.Errorf("while nothing changed: %v", call)
			}
		}
		r.fleet.set("10.0.0.1", 5)
		if err := r.reload(c); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=5 10.0.0.2=0")
		if s := r.status("web"); s.Downpage != nil || s.CombinedWeight != 5 || s.Notice != "" {
			t.Errorf("afterwards: downpage %+v, combined weight %d, notice %q", s.Downpage, s.CombinedWeight, s.Notice)
		}
		r.wantLog("cluster recovered")
	})
}

func TestDownpageKeepsItsConnectionsWhenANodeRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1)
		c.AllDown = config.ToPage
		c.Relay = config.Relay{Enabled: true, Mark: 10007}
		r.fleet.set("10.0.0.1", 0)
		r.boot(c)
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=0 169.254.254.254=1\n10007 wlc 10.0.0.1=0") // packets from other data centres get no downpage
		if err := r.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("169.254.254.254"), 0, 2, 0); err != nil {
			t.Fatal(err)
		}
		r.fleet.set("10.0.0.1", 100)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=100 169.254.254.254=0\n10007 wlc 10.0.0.1=100")
		if s := r.status("web"); s.Downpage == nil || s.Downpage.State != "leaving" || s.CombinedWeight != 100 || len(s.Nodes) != 1 {
			t.Errorf("downpage %+v, combined weight %d, %d nodes", s.Downpage, s.CombinedWeight, len(s.Nodes))
		}
		// A reload without the policy removes the downpage.
		c.AllDown = config.RefuseAll
		r.fleet.set("10.0.0.1", 0)
		if err := r.reload(c); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wait(c.DrainTimeout)
		r.wantTable("7 wlc 10.0.0.1=0\n10007 wlc 10.0.0.1=0")
	})
}

func TestPoliciesWhenAllNodesAreDown(t *testing.T) {
	for _, tt := range []struct {
		policy config.AllDown
		want   string
	}{
		{config.RefuseAll, "7 wlc 10.0.0.1=0 10.0.0.2=0 10.0.0.3=0"},
		{config.HoldLast, "7 wlc 10.0.0.1=0 10.0.0.2=90 10.0.0.3=0"},
		{config.AllIn, "7 wlc 10.0.0.1=1 10.0.0.2=1 10.0.0.3=0"},
	} {
		t.Run(string(tt.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				c := webapp("web", 7, 1, 2, 3)
				c.AllDown, c.RampUpTime = tt.policy, time.Minute
				r.fleet.set("10.0.0.1", 100)
				r.fleet.set("10.0.0.2", 90)
				r.fleet.set("10.0.0.3", 80)
				r.boot(c)
				r.start("web")
				r.drain("10.0.0.3")
				r.fleet.set("10.0.0.1", connRefused)
				r.waitForReadings()
				r.fleet.set("10.0.0.2", connRefused)
				r.waitForReadings()
				r.wantTable(tt.want)
				if s := r.status("web"); s.CombinedWeight != 0 || !strings.HasPrefix(s.Notice, "no node has weight") {
					t.Errorf("combined weight %d, notice %q; want 0 for other balancers", s.CombinedWeight, s.Notice)
				}
				r.fleet.set("10.0.0.1", 50) // a node that recovers gets all traffic, without a ramp
				r.waitForReadings()
				r.wantTable("7 wlc 10.0.0.1=50 10.0.0.2=0 10.0.0.3=0")
			})
		})
	}
}

func TestLossOfManyNodesAtOnceIsSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1, 2, 3, 4)
		c.SuspectShare, c.SuspectTime, c.RampUpTime = 50, time.Minute, time.Minute
		setThree := func(health int) {
			for _, n := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
				r.fleet.set(n, health)
			}
		}
		setThree(100)
		r.fleet.set("10.0.0.4", 100)
		r.boot(c)
		r.start("web")
		r.wait(10 * time.Second)
		all := "7 wlc 10.0.0.1=100 10.0.0.2=100 10.0.0.3=100 10.0.0.4=100"
		r.wantTable(all)

		setThree(connRefused) // as if the balancer's own network failed: weights hold for suspect_time
		for range 20 {
			r.wait(time.Second)
			r.wantTable(all)
		}
		s := r.status("web")
		if !strings.Contains(s.Notice, "3 of 4 nodes stopped responding at once") || s.Nodes[0].State != "held" || s.CombinedWeight != 400 {
			t.Errorf("notice %q, state %s, combined weight %d", s.Notice, s.Nodes[0].State, s.CombinedWeight)
		}
		r.wantLog("cluster degraded", "lb suspects its own network")
		setThree(100)
		r.waitForReadings()
		r.wantTable(all)
		r.wait(time.Minute)

		setThree(0) // health that agents report is never suspect
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0 10.0.0.3=0 10.0.0.4=100")
		setThree(100)
		r.wait(2 * time.Minute)
		r.wantTable(all)

		setThree(connRefused) // weights fall when suspect_time is over
		r.wait(30 * time.Second)
		r.wantTable(all)
		r.wait(40 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0 10.0.0.3=0 10.0.0.4=100")
		r.wait(time.Minute)
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0 10.0.0.3=0 10.0.0.4=100")
		r.wantLog("nodes that do not respond count as down")
	})
}

func TestUpAndDownFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		dir := t.TempDir()
		write := func(name, text string) {
			t.Helper()
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		remove := func(name string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		c := webapp("web", 7, 1, 2)
		c.Nodes[0].MaxWeight, c.RampUpTime = 30, time.Minute
		r.fleet.set("10.0.0.1", 80)
		r.fleet.set("10.0.0.2", 80)
		r.boot(c)
		r.start("web")
		if err := r.engine.do(t.Context(), func(context.Context) { r.engine.overrides.Dir = dir }); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=80")
		write("down/web", "database moves\n")
		write("down/wbe", "")
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0")
		if s := r.status("web"); !strings.HasPrefix(s.Notice, "the cluster has a down file: database moves; no node has weight") ||
			s.Nodes[0].Why != "cluster down file: database moves" {
			t.Errorf("notice %q, why %q", s.Notice, s.Nodes[0].Why)
		}
		r.wantLog("the cluster has a down file", "database moves", "no cluster has that name", dir+"/down/wbe")
		remove("down/web")
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=80") // without a ramp
		r.wantLog("the cluster's down file is gone")

		r.fleet.set("10.0.0.1", 0)
		r.fleet.set("10.0.0.2", connRefused)
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0")
		write("up/web", "")
		write("down/web", "")
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=100")
		// The up file wins, even while its directory cannot be read.
		if err := os.Rename(dir+"/up", dir+"/away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/up", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=100")
		r.wantLog("the last known files stay in effect")
		remove("up")
		if err := os.Rename(dir+"/away", dir+"/up"); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=100")
		remove("up/web")
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0")
	})
}

// drain drains a node of the cluster web by force.
func (r *rig) drain(address string) {
	r.t.Helper()
	if status, body := r.request("POST", "/cluster/web/drain/"+address+"?reason=disk&force=true"); status != 200 {
		r.t.Fatalf("drain %s: %d %s", address, status, body)
	}
}

func TestTheLowerOfTwoWeightCapsApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1, 2, 3)
		for i, most := range []int{30, 90, 0} {
			r.fleet.set(c.Nodes[i].Address.String(), 100)
			c.Nodes[i].MaxWeight = most
		}
		c.MaxWeight = 60
		r.boot(c)
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=60 10.0.0.3=60")
		c.MaxWeight = 0
		if err := r.reload(c); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=30 10.0.0.2=90 10.0.0.3=100")
	})
}

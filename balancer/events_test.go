package balancer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// eventsSince returns the events after a number, one per line: kind, cluster, node, old>new, up/all nodes.
func (r *rig) eventsSince(since uint64) string {
	events, _ := r.engine.rec.Report.Journal.Since(since)
	var words []string
	for _, e := range events {
		word := fmt.Sprintf("%s %s %s", e.Kind, e.Cluster, e.Node)
		if e.Old != "" || e.New != "" {
			word += " " + e.Old + ">" + e.New
		}
		if e.Nodes != nil {
			word += fmt.Sprintf(" %d/%d", e.Nodes.Up, e.Nodes.All)
		}
		words = append(words, strings.Join(strings.Fields(word), " "))
	}
	return strings.Join(words, "\n")
}

func (r *rig) wantEvents(what string, since uint64, want ...string) uint64 {
	r.t.Helper()
	if got := r.eventsSince(since); got != strings.Join(want, "\n") {
		r.t.Errorf("%s: events\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
	}
	return r.engine.rec.Report.Journal.Last()
}

func TestEventsOfAClusterAndItsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 4 * time.Second
		r.boot(c)
		r.start("web")
		last := r.wantEvents("start", 0,
			"marks_changed", "cluster_starting web", "node_up web 10.0.0.1 unknown>up 2/2", "node_up web 10.0.0.2 unknown>up 2/2",
			"service_added web", "node_added web 10.0.0.1 >92", "node_added web 10.0.0.2 >40", "cluster_started web 2/2")
		r.fleet.set("10.0.0.2", 0)
		r.wait(3 * time.Second)
		last = r.wantEvents("a node goes down", last, "node_down web 10.0.0.2 up>down 1/2", "weight web 10.0.0.2 40>0")
		r.fleet.set("10.0.0.2", 40)
		r.wait(9 * time.Second)
		if got := r.eventsSince(last); !strings.HasPrefix(got, "node_ramping web 10.0.0.2 down>ramping 2/2\nweight web 10.0.0.2 0>1\n") ||
			!strings.Contains(got, "node_up web 10.0.0.2 ramping>up 2/2") {
			t.Errorf("a node recovers:\n%s", got)
		}
		last = r.engine.rec.Report.Journal.Last()
		if err := ipvs.ApplyOne(t.Context(), r.table, ipvs.DeleteService(ipvs.Key{Mark: 7, Family: ipvs.IPv4})); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * time.Second)
		last = r.wantEvents("drift", last, "drift_repaired web", "drift_repaired web 10.0.0.1 >92", "drift_repaired web 10.0.0.2 >40")
		if err := r.reload(webapp("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * time.Second)
		last = r.wantEvents("a node leaves the config", last, "node_leaving web 10.0.0.2 40>0", "node_removed web 10.0.0.2 0>")
		if _, err := r.engine.Stop(t.Context(), "web", "kim"); err != nil {
			t.Fatal(err)
		}
		r.wantEvents("stop", last, "cluster_stopped web", "service_removed")
	})
}

func TestDrainEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 92)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		last := r.engine.rec.Report.Journal.Last()
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		last = r.wantEvents("a drain", last, "drain_begun web 10.0.0.2", "node_drained web 10.0.0.2 up>drained 2/2",
			"weight web 10.0.0.2 92>0")
		events, _ := r.engine.rec.Report.Journal.Since(last - 3)
		if e := events[0]; e.Cause != "by kim: disks" {
			t.Errorf("the event is %+v", e)
		}
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=fans&who=ann&for=10s")
		last = r.wantEvents("another drain", last, "drain_ended web 10.0.0.2", "drain_begun web 10.0.0.2")
		r.wait(15 * time.Second)
		last = r.wantEvents("its expiry", last, "drain_expired web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2",
			"weight web 10.0.0.2 0>92")
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		last = r.wantEvents("a drain", last, "drain_begun web 10.0.0.2", "node_drained web 10.0.0.2 up>drained 2/2",
			"weight web 10.0.0.2 92>0")
		r.request("DELETE", "/cluster/web/drain/10.0.0.2?who=kim")
		r.wantEvents("a resumed node", last, "drain_ended web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
	})
}

func TestAnExpiredDrainIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 92)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		r.engine.drains.removing.Store(true) // removing the file of a drain takes long
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=fans&who=ann&for=10s")
		last := r.engine.rec.Report.Journal.Last()
		r.wait(30 * time.Second)
		r.wantEvents("its expiry", last, "drain_expired web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
	})
}

func TestOverrideFileEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.balancer = config.Balancer{OverrideDir: t.TempDir()}
		r.boot(webapp("web", 7, 1))
		r.wait(3 * time.Second)
		last := r.engine.rec.Report.Journal.Last()
		up := filepath.Join(r.balancer.OverrideDir, "up", "web")
		if err := os.MkdirAll(filepath.Dir(up), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(up, []byte("a test\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		r.wait(3 * time.Second)
		last = r.wantEvents("an up file", last, "file_appeared web >up")
		if err := os.Remove(up); err != nil {
			t.Fatal(err)
		}
		r.wait(3 * time.Second)
		r.wantEvents("no file", last, "file_gone web up>")
	})
}

func TestSiteEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.sites.set(1)
		r.boot(withSites("web", 7, []int{1}, 1))
		r.wait(3 * time.Second)
		last := r.engine.rec.Report.Journal.Last()
		r.sites.set(1, "10.9.0.1=80 dc2")
		r.wait(3 * time.Second)
		last = r.wantEvents("a remote balancer", last, "site_answers web", "member_joined web 10.9.0.1",
			"node_up web 10.9.0.1 unknown>up 2/2")
		r.sites.setUnreachable(1)
		r.wait(3 * time.Second)
		r.wantEvents("no response", last, "site_silent web", "member_left web 10.9.0.1")
	})
}

func TestAMemberLeavesWithTheLastConfiguredSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.sites.set(1, "10.9.0.1=80 dc2")
		r.boot(withSites("web", 7, []int{1}, 1))
		r.wait(3 * time.Second)
		last := r.engine.rec.Report.Journal.Last()
		if err := r.reload(webapp("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		r.wantEvents("a reload without sites", last, "member_left web 10.9.0.1", "marks_changed")
	})
}

// An all_down policy that uses nodes that are down does not make them up: Nagios would report OK.
func TestNodesUsedAsALastResortAreNotUp(t *testing.T) {
	for _, policy := range []config.AllDown{config.RefuseAll, config.HoldLast, config.AllIn} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fleet.set("10.0.0.1", 92)
				c := webapp("web", 7, 1)
				c.AllDown = policy
				r.boot(c)
				r.start("web")
				last := r.engine.rec.Report.Journal.Last()
				r.fleet.set("10.0.0.1", 0)
				r.wait(3 * time.Second)
				events, _ := r.engine.rec.Report.Journal.Since(last)
				if len(events) == 0 {
					t.Fatal("no event")
				}
				for _, e := range events {
					if e.Nodes != nil && e.Nodes.Up > 0 {
						t.Errorf("%s %s %s>%s has %d of %d nodes up", e.Kind, e.Node, e.Old, e.New, e.Nodes.Up, e.Nodes.All)
					}
				}
			})
		})
	}
}

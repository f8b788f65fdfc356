package balancer

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
)

func TestDrainEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 92)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		last := r.engine.rec.Report.Journal.Last()
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		last = r.wantEvents("a drain", last, "drain_begun web 10.0.0.2", "node_drained web 10.0.0.2 up>drained 2/2", "weight web 10.0.0.2 92>0")
		events, _ := r.engine.rec.Report.Journal.Since(last - 3)
		if e := events[0]; e.Cause != "by kim: disks" {
			t.Errorf("the event is %+v", e)
		}
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=fans&who=ann&for=10s")
		last = r.wantEvents("another drain", last, "drain_ended web 10.0.0.2", "drain_begun web 10.0.0.2")
		r.wait(15 * time.Second)
		last = r.wantEvents("its end", last, "drain_expired web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		last = r.wantEvents("a drain", last, "drain_begun web 10.0.0.2", "node_drained web 10.0.0.2 up>drained 2/2", "weight web 10.0.0.2 92>0")
		r.request("DELETE", "/cluster/web/drain/10.0.0.2?who=kim")
		r.wantEvents("an undrain", last, "drain_ended web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
	})
}

func TestAnExpiredDrainIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 92)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		r.engine.drains.removing.Store(true) // the disk takes its time
		r.request("POST", "/cluster/web/drain/10.0.0.2?reason=fans&who=ann&for=10s")
		last := r.engine.rec.Report.Journal.Last()
		r.wait(30 * time.Second)
		r.wantEvents("its end", last, "drain_expired web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
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
		last = r.wantEvents("a member", last, "site_answers web", "member_joined web 10.9.0.1", "node_up web 10.9.0.1 unknown>up 2/2")
		r.sites.setUnreachable(1)
		r.wait(3 * time.Second)
		r.wantEvents("silence", last, "site_silent web", "member_left web 10.9.0.1")
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

// What a policy does with nodes that are all down makes none of them up: Nagios would be told that all is well.
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

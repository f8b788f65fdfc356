package balancer

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
)

func TestDrainsAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 92)
		b.boot(webapp("web", 7, 1, 2))
		b.start("web")
		last := b.engine.rec.Report.Journal.Last()
		b.ordered("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		last = b.wantEvents("a drain", last, "drain_begun web 10.0.0.2", "node_drained web 10.0.0.2 up>drained 2/2", "weight web 10.0.0.2 92>0")
		events, _ := b.engine.rec.Report.Journal.Since(last - 3)
		if e := events[0]; e.Cause != "by kim: disks" {
			t.Errorf("the event is %+v", e)
		}
		b.ordered("POST", "/cluster/web/drain/10.0.0.2?reason=fans&who=ann&for=10s")
		last = b.wantEvents("another drain", last, "drain_ended web 10.0.0.2", "drain_begun web 10.0.0.2")
		b.wait(15 * time.Second)
		last = b.wantEvents("its end", last, "drain_expired web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
		b.ordered("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		last = b.wantEvents("a drain", last, "drain_begun web 10.0.0.2", "node_drained web 10.0.0.2 up>drained 2/2", "weight web 10.0.0.2 92>0")
		b.ordered("DELETE", "/cluster/web/drain/10.0.0.2?who=kim")
		b.wantEvents("an undrain", last, "drain_ended web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
	})
}

func TestADrainsEndIsToldOnceWhileItsFileIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.2", 92)
		b.boot(webapp("web", 7, 1, 2))
		b.start("web")
		b.engine.drains.removing.Store(true) // the disk takes its time
		b.ordered("POST", "/cluster/web/drain/10.0.0.2?reason=fans&who=ann&for=10s")
		last := b.engine.rec.Report.Journal.Last()
		b.wait(30 * time.Second)
		b.wantEvents("its end", last, "drain_expired web 10.0.0.2", "node_up web 10.0.0.2 drained>up 2/2", "weight web 10.0.0.2 0>92")
	})
}

func TestUpAndDownFilesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.site = config.Balancer{OverrideDir: t.TempDir()}
		b.boot(webapp("web", 7, 1))
		b.wait(3 * time.Second)
		last := b.engine.rec.Report.Journal.Last()
		up := filepath.Join(b.site.OverrideDir, "up", "web")
		if err := os.MkdirAll(filepath.Dir(up), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(up, []byte("a test\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		b.wait(3 * time.Second)
		last = b.wantEvents("an up file", last, "file_appeared web >up")
		if err := os.Remove(up); err != nil {
			t.Fatal(err)
		}
		b.wait(3 * time.Second)
		b.wantEvents("no file", last, "file_gone web up>")
	})
}

func TestOtherDataCentresAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.others.tells(1)
		b.boot(sending("web", 7, []int{1}, 1))
		b.wait(3 * time.Second)
		last := b.engine.rec.Report.Journal.Last()
		b.others.tells(1, "10.9.0.1=80 dc2")
		b.wait(3 * time.Second)
		last = b.wantEvents("a member", last, "site_answers web", "member_joined web 10.9.0.1", "node_up web 10.9.0.1 unknown>up 2/2")
		b.others.tells(1, "silent")
		b.wait(3 * time.Second)
		b.wantEvents("silence", last, "site_silent web", "member_left web 10.9.0.1")
	})
}

func TestAMemberLeavesWithTheLastSiteOfTheConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.others.tells(1, "10.9.0.1=80 dc2")
		b.boot(sending("web", 7, []int{1}, 1))
		b.wait(3 * time.Second)
		last := b.engine.rec.Report.Journal.Last()
		if err := b.reload(webapp("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		b.wantEvents("a reload without sites", last, "member_left web 10.9.0.1", "marks_changed")
	})
}

// What a policy does with nodes that are all down makes none of them up: Nagios would be told that all is well.
func TestNodesThatAreUsedForWantOfBetterAreNotUp(t *testing.T) {
	for _, policy := range []config.AllDown{config.RefuseAll, config.HoldLast, config.AllIn} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.fleet.set("10.0.0.1", 92)
				c := webapp("web", 7, 1)
				c.AllDown = policy
				b.boot(c)
				b.start("web")
				last := b.engine.rec.Report.Journal.Last()
				b.fleet.set("10.0.0.1", 0)
				b.wait(3 * time.Second)
				events, _ := b.engine.rec.Report.Journal.Since(last)
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

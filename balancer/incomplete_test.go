package balancer

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/ipvs"
)

// rejectChanges makes the kernel reject what changes its table; words pick operations, none is all.
func (r *rig) rejectChanges(words ...string) {
	r.table.SetFault(func(c ipvs.Call) error {
		if c.Operation == "dump" {
			return nil
		}
		for _, w := range words {
			if c.Operation == w {
				return errBusy
			}
		}
		if len(words) == 0 {
			return errBusy
		}
		return nil
	})
}

func TestADrainThatTheKernelRejectsIsNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootTwoNodes()
		r.rejectChanges("put destination")
		status, body := r.request("POST", "/cluster/web/drain/10.0.0.2?reason=disks&who=kim")
		if status != 500 || !strings.Contains(body, "10.0.0.2 is drained in web\n") ||
			!strings.Contains(body, "Error: the change is on disk, but not all of it is in effect: node 10.0.0.2 of cluster web: ") ||
			!strings.Contains(body, "resource busy; lb retries every 2s") {
			t.Errorf("%d %q", status, body)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=100")
		r.table.SetFault(func(ipvs.Call) error { return errBusy }) // the table cannot even be read
		w := httptest.NewRecorder()
		req := httptest.NewRequest("DELETE", "/cluster/web/drain/10.0.0.2", nil)
		req.Header.Set("Accept", "application/json")
		r.handler().ServeHTTP(w, req)
		var change api.DrainChange
		if err := json.Unmarshal(w.Body.Bytes(), &change); err != nil || w.Code != 500 || change.Change != api.Undrained ||
			len(change.Drains) != 1 || !strings.Contains(change.Error, "dump the load-balancing table") {
			t.Errorf("%d, %v, %+v", w.Code, err, change)
		}
		r.table.SetFault(nil)
		r.wait(3 * time.Second)
		if status, body := r.request("POST", "/cluster/web/drain/10.0.0.2"); status != 200 {
			t.Errorf("with a kernel that accepts: %d %q", status, body)
		}
	})
}

func TestADrainSucceedsWhateverElseTheKernelRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootTwoNodes()
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put destination" && c.Address == addr("10.0.0.1") {
				return errBusy
			}
			return nil
		})
		r.fleet.set("10.0.0.1", 50)
		r.wait(3 * time.Second)
		if status, body := r.request("POST", "/cluster/web/drain/10.0.0.2"); status != 200 {
			t.Errorf("%d %q", status, body)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
	})
}

func TestAReloadThatTheKernelRejectsIsNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootThreeClusters()
		r.rejectChanges()
		db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 1, 2)
		web.Scheduler = "mh"
		incomplete := (*api.IncompleteError)(nil)
		err := r.reload(db, idle, web)
		if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "reloaded, but not all of it is in effect: cluster web: ") ||
			!strings.HasSuffix(err.Error(), "resource busy; lb retries every 2s") {
			t.Errorf("%v", err)
		}
		r.table.SetFault(nil)
		if err := r.reload(db, idle, web); err != nil {
			t.Errorf("with a kernel that accepts: %v", err)
		}
	})
}

// A cluster that a reload starts waits for the first readings of its nodes; the answer to the reload waits, too.
func TestAReloadAnswersForTheClustersThatItStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		clusters := r.bootThreeClusters()
		added := webapp("new", 10, 4)
		added.Autostart = true
		r.rejectChanges("put service")
		if err := r.reload(append(clusters, added)...); err == nil || !strings.Contains(err.Error(), "cluster new: ") {
			t.Errorf("%v", err)
		}
		r.table.SetFault(nil)
		again := webapp("again", 11, 4)
		again.Autostart = true
		if err := r.reload(append(clusters, added, again)...); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100\n10 wlc 10.0.0.4=100\n11 wlc 10.0.0.4=100")
	})
}

func TestAStartWithoutMarkingRulesIsNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.marks.SetFault(func(string) error { return errBusy })
		r.boot(webapp("web", 7, 1))
		if _, err := r.engine.Start(t.Context(), "web", "test"); err == nil || !strings.Contains(err.Error(), "busy") {
			t.Errorf("start: %v", err)
		}
		r.marks.SetFault(nil)
		r.wait(3 * time.Second)
		if _, err := r.engine.Start(t.Context(), "web", "test"); err != nil {
			t.Errorf("start once the rules are set: %v", err)
		}
	})
}

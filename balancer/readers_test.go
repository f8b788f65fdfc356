package balancer

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// writeLog lists changes to the kernel's tables, one line each, with the time since start.
type writeLog struct {
	start time.Time
	lines []string
}

func (w *writeLog) add(call string) {
	w.lines = append(w.lines, fmt.Sprintf("%s %s", time.Since(w.start), call))
}

// recordWrites records the changes that the engine makes to the kernel's tables from now on.
func (r *rig) recordWrites() *writeLog {
	w := &writeLog{start: time.Now()}
	r.table.SetFault(func(c ipvs.Call) error {
		if c.Operation != "dump" && c.Operation != "list daemons" && c.Operation != "read timeouts" {
			w.add(fmt.Sprintf("%s %s %s", c.Operation, c.Key, c.Address))
		}
		return nil
	})
	r.marks.SetFault(func(operation string) error {
		if operation != "list marks" {
			w.add(operation)
		}
		return nil
	})
	return w
}

// readEverything reads everything that the server and the engine offer.
func (r *rig) readEverything() {
	r.t.Helper()
	h := r.handler()
	for _, path := range []string{"/", "/cluster/web", "/cluster/web/status_detail", "/metrics", "/drains", "/fwmark/7",
		"/events?since=0"} {
		if got := roundTrip(h, "GET", path, "application/json"); !strings.Contains(got, "\n< 200 ") {
			r.t.Errorf("GET %s: %s", path, got)
		}
	}
	if _, err := r.engine.Plan(r.t.Context(), nil); err != nil {
		r.t.Error(err)
	}
	next := &config.Config{Clusters: []config.Cluster{webapp("web", 7, 1, 2, 4), webapp("new", 9, 1)}}
	if _, err := r.engine.Plan(r.t.Context(), next); err != nil {
		r.t.Error(err)
	}
}

// TestReadersChangeNothing runs readings, drift and a drain, once alone and once with readers in between. It compares the writes to the
// kernel, their times, and the events.
func TestReadersChangeNothing(t *testing.T) {
	scenario := func(t *testing.T, read bool) (result string) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.fleet.set("10.0.0.1", 92)
			r.fleet.set("10.0.0.2", 40)
			r.fleet.set("10.0.0.3", 70)
			c := webapp("web", 7, 1, 2, 3)
			c.RampUpTime = 5 * time.Second
			r.boot(c)
			w := r.recordWrites()
			between := func(wait time.Duration) {
				if read {
					r.readEverything()
				}
				r.wait(wait)
			}
			r.start("web")
			between(time.Second)
			r.observe(r.engine, 60, "10.0.0.1")
			between(0)
			r.observe(r.engine, 50, "10.0.0.1") // waits for the minimum gap
			between(0)
			r.observe(r.engine, 45, "10.0.0.2")
			between(3 * time.Second)
			r.observe(r.engine, 0, "10.0.0.3")
			between(time.Second)
			r.observe(r.engine, 70, "10.0.0.3")
			between(7 * time.Second)
			key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
			r.seed(7, "wlc", map[int]ipvs.Weight{1: 50, 2: 9, 3: 70}) // another program changes a weight
			between(0)
			r.observe(r.engine, 55, "10.0.0.1")
			between(3 * time.Second)
			r.drain("10.0.0.2")
			between(2 * time.Second)
			if err := r.table.SetConns(key, addr("10.0.0.1"), 0, 3, 1); err != nil {
				t.Fatal(err)
			}
			between(10 * time.Second)
			result = strings.Join(w.lines, "\n") + "\n" + r.eventsSince(0) + "\n" + r.dump()
		})
		return result
	}
	alone, beside := scenario(t, false), scenario(t, true)
	if alone != beside {
		t.Errorf("with readers:\n%s\n\nwithout:\n%s", beside, alone)
	}
	if !strings.Contains(alone, "put destination") || !strings.Contains(alone, "drift_repaired") {
		t.Errorf("the scenario has no writes or no drift:\n%s", alone)
	}
}

// TestAStatusDoesNotDelayAWeight has a status request between a reading and its reconcile. A status must not decide weights: the changed
// weight would then no longer count as changed, and wait for the dump of the whole table.
func TestAStatusDoesNotDelayAWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		r.observe(r.engine, 80, "10.0.0.1")
		r.observe(r.engine, 60, "10.0.0.1") // within the minimum gap
		r.engine.Status(t.Context())
		calls := len(r.table.Calls())
		r.wait(minGap)
		if got := r.callsSince(calls); got != "put destination 10.0.0.1, dump" {
			t.Errorf("calls: %s; want the weight before the dump", got)
		}
		r.wantTable("7 wlc 10.0.0.1=60")
	})
}

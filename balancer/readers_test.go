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

// written is what a scenario did to the kernel, and what it reported: one line for each, with its time.
type written struct {
	begun time.Time
	lines []string
}

func (w *written) add(what string) { w.lines = append(w.lines, fmt.Sprintf("%s %s", time.Since(w.begun), what)) }

// record notes every change that the engine asks of the kernel's tables. What only reads is not noted.
func (b *bench) record() *written {
	w := &written{begun: time.Now()}
	b.table.SetFault(func(c ipvs.Call) error {
		if c.Operation != "dump" && c.Operation != "list daemons" {
			w.add(fmt.Sprintf("%s %s %s", c.Operation, c.Key, c.Address))
		}
		return nil
	})
	b.marks.SetFault(func(operation string) error {
		if operation != "list marks" {
			w.add(operation)
		}
		return nil
	})
	return w
}

// readEverything asks for all that can be read, by HTTP and from the engine.
func (b *bench) readEverything() {
	b.t.Helper()
	h := b.handler()
	for _, path := range []string{"/", "/cluster/web", "/cluster/web/status_detail", "/metrics", "/drains", "/fwmark/7", "/events?since=0"} {
		if got := ask(h, "GET", path, "application/json"); !strings.Contains(got, "\n< 200 ") {
			b.t.Errorf("GET %s: %s", path, got)
		}
	}
	if _, err := b.engine.Plan(b.t.Context(), nil); err != nil {
		b.t.Error(err)
	}
	next := &config.Config{Clusters: []config.Cluster{webapp("web", 7, 1, 2, 4), webapp("new", 9, 1)}}
	if _, err := b.engine.Plan(b.t.Context(), next); err != nil {
		b.t.Error(err)
	}
}

// TestReadersChangeNothing takes the engine through readings, drift, a drain and its end, once alone and once with readers between all of these, and
// compares what is written to the kernel, when, and what is reported.
func TestReadersChangeNothing(t *testing.T) {
	scenario := func(t *testing.T, read bool) (result string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.fleet.set("10.0.0.1", 92)
			b.fleet.set("10.0.0.2", 40)
			b.fleet.set("10.0.0.3", 70)
			c := webapp("web", 7, 1, 2, 3)
			c.RampUpTime = 5 * time.Second
			b.boot(c)
			w := b.record()
			between := func(wait time.Duration) {
				if read {
					b.readEverything()
				}
				b.wait(wait)
			}
			b.start("web")
			between(time.Second)
			b.hear(b.engine, 60, "10.0.0.1")
			between(0)
			b.hear(b.engine, 50, "10.0.0.1") // within the minimum gap, so it waits
			between(0)                       // a status between two readings
			b.hear(b.engine, 45, "10.0.0.2")
			between(3 * time.Second)
			b.hear(b.engine, 0, "10.0.0.3")
			between(time.Second)
			b.hear(b.engine, 70, "10.0.0.3")
			between(7 * time.Second)
			key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
			b.seed(7, "wlc", map[int]ipvs.Weight{1: 50, 2: 9, 3: 70}) // another program changes a weight
			between(0)
			b.hear(b.engine, 55, "10.0.0.1")
			between(3 * time.Second)
			b.drain("10.0.0.2")
			between(2 * time.Second)
			if err := b.table.SetConns(key, addr("10.0.0.1"), 0, 3, 1); err != nil {
				t.Fatal(err)
			}
			between(10 * time.Second)
			result = strings.Join(w.lines, "\n") + "\n" + b.kinds(0) + "\n" + b.kernel()
		})
		return result
	}
	alone, beside := scenario(t, false), scenario(t, true)
	if alone != beside {
		t.Errorf("with readers the engine did\n%s\n\nand without them\n%s", beside, alone)
	}
	if !strings.Contains(alone, "put destination") || !strings.Contains(alone, "drift_repaired") {
		t.Errorf("the scenario lacks something:\n%s", alone)
	}
}

// TestAStatusDoesNotDelayAWeight is the fault that a status between two readings once caused: it settled the cluster, and the changed weight then
// waited for the dump of the whole table.
func TestAStatusDoesNotDelayAWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.start("web")
		b.hear(b.engine, 80, "10.0.0.1")
		b.hear(b.engine, 60, "10.0.0.1") // within the minimum gap
		b.engine.Status(t.Context())
		calls := len(b.table.Calls())
		b.wait(minGap)
		if did := b.did(calls); did != "put destination 10.0.0.1, dump" {
			t.Errorf("it did %s; want the weight first", did)
		}
		b.want("7 wlc 10.0.0.1=60")
	})
}

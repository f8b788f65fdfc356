package balancer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// observe gives the engine a reading of each of these nodes. They report the same health from then on.
func (r *rig) observe(e *engine, health int, nodes ...string) {
	r.t.Helper()
	if err := e.do(r.t.Context(), func(context.Context) {
		for from, of := range e.watchers.ofNode {
			if address := of.node.Config().Address.String(); slices.Contains(nodes, address) {
				r.fleet.set(address, health)
				e.observe(watch.Update{From: from, Reading: decide.Reading{
					At: time.Now(), Answered: true, Health: health, Detail: fmt.Sprintf("agent reported health %d", health),
				}})
			}
		}
	}); err != nil {
		r.t.Fatal(err)
	}
}

// callsSince returns the calls of the table after the first n, such as "put destination 10.0.0.1, dump".
func (r *rig) callsSince(n int) string {
	var words []string
	for _, c := range r.table.Calls()[n:] {
		if word := c.Operation; c.Address.IsValid() {
			words = append(words, word+" "+c.Address.String())
		} else {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

func TestAChangedWeightDoesNotWaitForTheDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		calls, last := len(r.table.Calls()), r.engine.rec.Report.Journal.Last()
		r.observe(r.engine, 0, "10.0.0.1")
		synctest.Wait()
		if got := r.callsSince(calls); got != "put destination 10.0.0.1, dump" {
			t.Errorf("calls: %s; want the weight, then one dump", got)
		}
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=40")
		r.wantEvents("a node goes down", last, "node_down web 10.0.0.1 up>down 1/2", "weight web 10.0.0.1 92>0")
		latest := r.engine.snapshot.Load()
		if s := latest.status(time.Now(), latest.services).Clusters[0]; *s.Nodes[0].KernelWeight != 0 || s.CombinedWeight != 40 {
			t.Errorf("the snapshot has the kernel's weight %d, combined %d", *s.Nodes[0].KernelWeight, s.CombinedWeight)
		}
		r.wait(10 * time.Second)
		r.wantEvents("no change", last+2)
	})
}

// TestDriftIsFoundAfterAnUrgentWeight has another program change the table, and then a reading before the next dump.
func TestDriftIsFoundAfterAnUrgentWeight(t *testing.T) {
	key := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	weight := func(node string, w ipvs.Weight) ipvs.Change {
		return ipvs.PutDestination(key, ipvs.Destination{Address: addr(node), Forwarding: ipvs.Tunnel, Weight: w})
	}
	for _, tt := range []struct {
		name   string
		change ipvs.Change // by another program
		status bool        // is read before the reading
		events []string
	}{
		{"another node's weight", weight("10.0.0.2", 5), false, []string{"weight web 10.0.0.1 92>60", "drift_repaired web 10.0.0.2 5>40"}},
		{"another node", ipvs.DeleteDestination(key, addr("10.0.0.2"), 0), false,
			[]string{"weight web 10.0.0.1 92>60", "drift_repaired web 10.0.0.2 >40"}},
		{"an additional node", weight("10.0.0.9", 5), false, []string{"weight web 10.0.0.1 92>60", "drift_repaired web 10.0.0.9 5>0"}},
		{"the node", ipvs.DeleteDestination(key, addr("10.0.0.1"), 0), false, []string{"drift_repaired web 10.0.0.1 >60"}},
		{"the service", ipvs.DeleteService(key), false,
			[]string{"drift_repaired web", "drift_repaired web 10.0.0.1 >60", "drift_repaired web 10.0.0.2 >40"}},
		{"the scheduler", ipvs.PutService(ipvs.Service{Key: key, Scheduler: "rr"}), false,
			[]string{"weight web 10.0.0.1 92>60", "drift_repaired web"}},
		{"the node's weight, which is overwritten", weight("10.0.0.1", 5), false, []string{"weight web 10.0.0.1 92>60"}},
		{"the node's weight, seen by a status", weight("10.0.0.1", 5), true, []string{"weight web 10.0.0.1 92>60"}},
		{"the node, seen by a status", ipvs.DeleteDestination(key, addr("10.0.0.1"), 0), true, []string{"drift_repaired web 10.0.0.1 >60"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fleet.set("10.0.0.1", 92)
				r.fleet.set("10.0.0.2", 40)
				r.boot(webapp("web", 7, 1, 2))
				r.start("web")
				r.wait(100*time.Millisecond + time.Millisecond)
				if err := ipvs.ApplyOne(t.Context(), r.table, tt.change); err != nil {
					t.Fatal(err)
				}
				if tt.status {
					r.engine.Status(t.Context())
				}
				last := r.engine.rec.Report.Journal.Last()
				r.observe(r.engine, 60, "10.0.0.1")
				synctest.Wait()
				r.wantEvents("in one reconcile", last, tt.events...)
				if got := r.dump(); !strings.HasPrefix(got, "7 wlc 10.0.0.1=60 10.0.0.2=40") {
					t.Errorf("the kernel has %s", got)
				}
				r.wait(10 * time.Second)
				r.wantTable("7 wlc 10.0.0.1=60 10.0.0.2=40")
			})
		})
	}
}

func TestTheDownpageIsAddedBeforeWeightsFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := webapp("web", 7, 1, 2)
		c.AllDown = config.ToPage
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.boot(c)
		r.start("web")
		calls := len(r.table.Calls())
		r.observe(r.engine, 0, "10.0.0.1", "10.0.0.2")
		synctest.Wait()
		if got := r.callsSince(calls); !strings.HasPrefix(got, "dump, put destination 169.254.254.254, ") {
			t.Errorf("calls: %s; want a dump, then the downpage", got)
		}
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0 169.254.254.254=1")
	})
}

func TestAnUrgentWeightIsAppliedWhenTheDumpFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "dump" {
				return errors.New("out of memory")
			}
			return nil
		})
		last := r.engine.rec.Report.Journal.Last()
		r.observe(r.engine, 60, "10.0.0.1")
		synctest.Wait()
		r.wantEvents("at once", last, "weight web 10.0.0.1 92>60", "kernel_refuses")
		r.observe(r.engine, 50, "10.0.0.1")
		r.wait(minGap)
		r.table.SetFault(nil)
		r.wantTable("7 wlc 10.0.0.1=60") // the last dump failed: lb edits nothing until one succeeds
		r.wait(3 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=50")
		r.wantEvents("when it can be read again", last+2, "kernel_obeys", "weight web 10.0.0.1 60>50")
		if strings.Contains(r.log.String(), "drift") {
			t.Errorf("lb's own change is reported as drift:\n%s", r.log)
		}
	})
}

func TestAnOverrideFileFoundAfterAnUrgentWeightIsNotDrift(t *testing.T) {
	for _, status := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.balancer = config.Balancer{OverrideDir: t.TempDir()}
			r.fleet.set("10.0.0.1", 92)
			r.boot(webapp("web", 7, 1))
			r.start("web")
			down := filepath.Join(r.balancer.OverrideDir, "down")
			if err := errors.Join(os.Mkdir(down, 0o755), os.WriteFile(filepath.Join(down, "web"), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			if r.wait(100*time.Millisecond + time.Millisecond); status {
				r.engine.Status(t.Context())
			}
			last := r.engine.rec.Report.Journal.Last()
			r.observe(r.engine, 60, "10.0.0.1")
			synctest.Wait()
			r.wantEvents(fmt.Sprintf("status read before: %t", status), last,
				"weight web 10.0.0.1 92>60", "file_appeared web >down", "cluster_state web ok>all_down 1/1", "weight web 10.0.0.1 60>0")
		})
	}
}

package balancer

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func (r *rig) reload(clusters ...config.Cluster) error {
	return r.engine.Reload(r.t.Context(), &config.Config{Clusters: clusters}, false)
}

// bootThreeClusters boots three clusters and starts web and db.
func (r *rig) bootThreeClusters() []config.Cluster {
	for _, n := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} {
		r.fleet.set(n, 100)
	}
	clusters := []config.Cluster{webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 1, 2)}
	r.boot(clusters...)
	r.start("web")
	r.start("db")
	return clusters
}

func TestReloadEditsInPlace(t *testing.T) {
	const all = "7 wlc 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100"
	tests := []struct {
		name   string
		change func(db, idle, web *config.Cluster)
		want   string
		calls  string // that write to the kernel, in order
	}{
		{"nothing changed", func(_, _, _ *config.Cluster) {}, all, ""},
		{"scheduler", func(_, _, web *config.Cluster) { web.Scheduler = "wrr" },
			"7 wrr 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100", "put service mark 7"},
		{"max_weight", func(_, _, web *config.Cluster) { web.MaxWeight = 30 },
			"7 wlc 10.0.0.1=30 10.0.0.2=30\n8 wlc 10.0.0.3=100", "put destination mark 7, put destination mark 7"},
		{"port of an agent", func(_, _, web *config.Cluster) { web.Nodes[0].Port = 1234 }, all, ""},
		{"forwarding", func(db, _, _ *config.Cluster) { db.Forwarding = config.DR }, all, "put destination mark 8"},
		{"mark: the new service is added before the old one is removed", func(_, _, web *config.Cluster) { web.Mark = 70 },
			"8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100",
			"put service mark 70, put destination mark 70, put destination mark 70, set marks, delete service mark 7"},
		{"marks swapped", func(db, _, web *config.Cluster) { db.Mark, web.Mark = 7, 8 },
			"7 wlc 10.0.0.1=0 10.0.0.2=0 10.0.0.3=100\n8 wlc 10.0.0.1=100 10.0.0.2=100 10.0.0.3=0",
			"put destination mark 7, put destination mark 7, put destination mark 7, " +
				"put destination mark 8, put destination mark 8, put destination mark 8, set marks, " +
				"delete destination mark 7, delete destination mark 7, delete destination mark 8"},
		{"a mark moves to a stopped cluster", func(_, idle, web *config.Cluster) { web.Mark, idle.Mark = 70, 7 },
			"8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100",
			"put service mark 70, put destination mark 70, put destination mark 70, set marks, delete service mark 7"},
		{"renamed", func(_, _, web *config.Cluster) { web.Name = "www" }, all, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.bootThreeClusters()
				db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 1, 2)
				tt.change(&db, &idle, &web)
				got := r.reloadCalls(db, idle, web)
				if !strings.HasPrefix(got, tt.calls) || tt.calls == "" && got != "" {
					t.Errorf("calls of the reload\n%s\nwant\n%s", got, tt.calls)
				}
				if !strings.Contains(tt.name, "swapped") { // the old nodes are still draining
					r.wantTable(tt.want)
				}
				r.wait(5 * time.Second)
				if strings.Contains(r.log.String(), "drift") {
					t.Errorf("a change by a reload is reported as drift:\n%s", r.log)
				}
			})
		})
	}
}

// reloadCalls reloads and returns the writes to the kernel, in order.
func (r *rig) reloadCalls(clusters ...config.Cluster) string {
	r.t.Helper()
	var calls []string
	r.table.SetFault(func(c ipvs.Call) error {
		if c.Operation != "dump" {
			calls = append(calls, c.Operation+" "+c.Key.String())
		}
		return nil
	})
	r.marks.SetFault(func(operation string) error {
		if operation == "set marks" {
			calls = append(calls, operation)
		}
		return nil
	})
	writes := r.marks.Writes()
	if err := r.reload(clusters...); err != nil {
		r.t.Fatal(err)
	}
	if r.marks.Writes() == writes { // the engine also calls Set for rules that are right, without effect
		calls = slices.DeleteFunc(calls, func(c string) bool { return c == "set marks" })
	}
	r.table.SetFault(nil)
	r.marks.SetFault(nil)
	return strings.Join(calls, ", ")
}

func TestReloadAddsAndDrainsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootThreeClusters()
		r.wait(10 * time.Second)
		db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 2, 4)
		web.RampUpTime = 10 * time.Second
		if err := r.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.1"), 0, 3, 0); err != nil {
			t.Fatal(err)
		}
		polls := r.fleet.polled("10.0.0.2")
		if err := r.reload(db, idle, web); err != nil {
			t.Fatal(err)
		}
		if n := r.fleet.polled("10.0.0.2"); n != polls {
			t.Errorf("the reload polled a node with unchanged settings: %d polls before, %d after", polls, n)
		}
		r.wait(minGap) // the new node is polled at once, and starts its ramp
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=100 10.0.0.4=1\n8 wlc 10.0.0.3=100")
		r.wait(5 * time.Second)
		if got := r.dump(); strings.Contains(got, "10.0.0.4=0") || strings.Contains(got, "10.0.0.4=100") {
			t.Errorf("5 s into the ramp: %s", got)
		}
		r.wait(8 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=100 10.0.0.4=100\n8 wlc 10.0.0.3=100")
		c := r.engine.Status(t.Context()).Clusters[2]
		if n := c.Nodes[2]; n.State != "leaving" || n.ActiveConns != 3 || !strings.Contains(n.Why, "keeps its connections") {
			t.Errorf("the removed node: %+v", n)
		}
		r.wait(time.Minute) // drain_timeout
		r.wantTable("7 wlc 10.0.0.2=100 10.0.0.4=100\n8 wlc 10.0.0.3=100")
	})
}

// The nodes that a cluster starts with share its traffic at once, without a ramp. A node that joins them a moment later ramps up.
func TestANodeThatJoinsANewClusterRampsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		web := webapp("web", 7, 1, 2)
		web.RampUpTime = time.Minute
		r.fleet.set("10.0.0.1", 100)
		r.fleet.set("10.0.0.2", connRefused)
		r.fleet.set("10.0.0.3", 100)
		r.boot(web)
		r.start("web")
		r.wait(1500 * time.Millisecond) // it responds more than a poll later than the other node
		r.fleet.set("10.0.0.2", 100)
		r.wait(3 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100")
		web.Nodes = webapp("web", 7, 1, 2, 3).Nodes
		if err := r.reload(web); err != nil {
			t.Fatal(err)
		}
		r.wait(minGap)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100 10.0.0.3=1")
	})
}

func TestReloadChangesTheOverrideDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		clusters, dir := r.bootThreeClusters(), t.TempDir()
		if err := errors.Join(os.Mkdir(dir+"/down", 0o755), os.WriteFile(dir+"/down/web", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		next := &config.Config{Clusters: clusters, Balancer: config.Balancer{OverrideDir: dir}}
		if err := r.engine.Reload(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		r.waitForReadings()
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=0\n8 wlc 10.0.0.3=100")
	})
}

func TestReloadAddsAndRemovesClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootThreeClusters()
		added, adopted := webapp("added", 10, 4), webapp("adopted", 11, 4)
		added.Autostart = true
		r.seed(11, "wlc", map[int]ipvs.Weight{4: 60})
		if err := r.reload(added, adopted, webapp("web", 7, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(3 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100\n10 wlc 10.0.0.4=100\n11 wlc 10.0.0.4=100")
		if rules, _ := r.marks.List(t.Context()); len(rules) != 3 {
			t.Errorf("marking rules %v, want those of the three clusters", rules)
		}
		if events := r.eventsSince(0); strings.Count(events, "cluster_stopped") != 1 || !strings.Contains(events, "cluster_stopped db") ||
			strings.Contains(events, "renamed") {
			t.Errorf("events\n%s\nwant only db stopped, and no cluster renamed", events)
		}
		before := r.fleet.polled("10.0.0.3")
		r.wait(10 * time.Second)
		if n := r.fleet.polled("10.0.0.3"); n != before {
			t.Error("a node of a removed cluster is still polled")
		}
	})
}

func TestReloadGuard(t *testing.T) {
	tests := []struct {
		name    string
		start   []string
		stop    []string
		kept    []string // clusters in the new config
		refused bool
	}{
		{"all removed", nil, nil, nil, true},
		{"one of two removed", nil, nil, []string{"web"}, false},
		{"both running clusters removed", nil, nil, []string{"idle"}, true},
		{"the only running cluster removed", nil, []string{"db"}, []string{"db", "idle"}, true},
		{"all stopped first, then removed", nil, []string{"db", "web"}, nil, false},
		{"two of three removed", []string{"idle"}, nil, []string{"web"}, true},
		{"one of three removed", []string{"idle"}, nil, []string{"db", "web"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				clusters := r.bootThreeClusters()
				for _, name := range tt.start {
					r.start(name)
				}
				for _, name := range tt.stop {
					if _, err := r.engine.Stop(t.Context(), name, "test"); err != nil {
						t.Fatal(err)
					}
				}
				pages := func() (all map[string]*page.Content) {
					_ = r.engine.do(t.Context(), func(context.Context) { all = r.engine.contents })
					return all
				}
				_ = r.engine.do(t.Context(), func(context.Context) { r.engine.contents = map[string]*page.Content{"previous": nil} })
				before := r.dump()
				clusters = slices.DeleteFunc(clusters, func(c config.Cluster) bool { return !slices.Contains(tt.kept, c.Name) })
				err := r.reload(clusters...)
				if refused := err != nil; refused != tt.refused {
					t.Fatalf("refused is %v (%v), want %v", refused, err, tt.refused)
				}
				if tt.refused {
					if !strings.Contains(err.Error(), "lb ctl cluster stop") {
						t.Errorf("the error does not say what to do: %v", err)
					}
					r.wait(10 * time.Second)
					r.wantTable(before)
				}
				if _, kept := pages()["previous"]; kept != tt.refused {
					t.Errorf("previous pages kept: %v; reload refused: %v", kept, tt.refused)
				}
			})
		})
	}
}

func TestReloadWithoutMarksKeepsTheOldService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootThreeClusters()
		r.marks.SetFault(func(string) error { return errBusy })
		db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 70, 1, 2)
		incomplete := (*api.IncompleteError)(nil)
		if err := r.reload(db, idle, web); !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "the marking rules: ") {
			t.Fatalf("the answer to the reload: %v", err)
		}
		r.wait(10 * time.Second) // the marking rules still set the old mark
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100")
		if c := r.engine.Status(t.Context()).Clusters[2]; !strings.Contains(c.LastError, "busy") {
			t.Errorf("last_error %q", c.LastError)
		}
		r.marks.SetFault(nil)
		r.wait(2*time.Second + minGap)
		r.wantTable("8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100")
	})
}

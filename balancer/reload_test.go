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

	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func (b *bench) reload(clusters ...config.Cluster) error {
	return b.engine.Reload(b.t.Context(), &config.Config{Clusters: clusters}, false)
}

// running boots three clusters, of which web and db run.
func (b *bench) running() []config.Cluster {
	for _, n := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} {
		b.fleet.set(n, 100)
	}
	clusters := []config.Cluster{webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 1, 2)}
	b.boot(clusters...)
	b.start("web")
	b.start("db")
	return clusters
}

func TestReloadEditsInPlace(t *testing.T) {
	const all = "7 wlc 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100"
	tests := []struct {
		name   string
		change func(db, idle, web *config.Cluster)
		want   string
		calls  string // that changed the table, in order
	}{
		{"nothing changed", func(_, _, _ *config.Cluster) {}, all, ""},
		{"scheduler", func(_, _, web *config.Cluster) { web.Scheduler = "wrr" },
			"7 wrr 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100", "put service mark 7"},
		{"max_weight", func(_, _, web *config.Cluster) { web.MaxWeight = 30 },
			"7 wlc 10.0.0.1=30 10.0.0.2=30\n8 wlc 10.0.0.3=100", "put destination mark 7, put destination mark 7"},
		{"port of an agent", func(_, _, web *config.Cluster) { web.Nodes[0].Port = 1234 }, all, ""},
		{"forwarding", func(db, _, _ *config.Cluster) { db.Forwarding = config.DR }, all, "put destination mark 8"},
		{"mark: the new service comes before the old one goes", func(_, _, web *config.Cluster) { web.Mark = 70 },
			"8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100",
			"put service mark 70, put destination mark 70, put destination mark 70, set marks, delete service mark 7"},
		{"marks swapped", func(db, _, web *config.Cluster) { db.Mark, web.Mark = 7, 8 },
			"7 wlc 10.0.0.1=0 10.0.0.2=0 10.0.0.3=100\n8 wlc 10.0.0.1=100 10.0.0.2=100 10.0.0.3=0",
			"put destination mark 7, put destination mark 7, put destination mark 7, put destination mark 8, put destination mark 8, put destination mark 8, set marks, " +
				"delete destination mark 7, delete destination mark 7, delete destination mark 8"},
		{"a mark goes to a cluster that does not run", func(_, idle, web *config.Cluster) { web.Mark, idle.Mark = 70, 7 },
			"8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100",
			"put service mark 70, put destination mark 70, put destination mark 70, set marks, delete service mark 7"},
		{"renamed", func(_, _, web *config.Cluster) { web.Name = "www" }, all, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.running()
				db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 1, 2)
				tt.change(&db, &idle, &web)
				got := b.reloadCalls(db, idle, web)
				if !strings.HasPrefix(got, tt.calls) || tt.calls == "" && got != "" {
					t.Errorf("the reload did\n%s\nwant\n%s", got, tt.calls)
				}
				if !strings.Contains(tt.name, "swapped") { // there the old nodes are still draining
					b.want(tt.want)
				}
				b.wait(5 * time.Second)
				if strings.Contains(b.log.String(), "drift") {
					t.Errorf("a reload is no drift:\n%s", b.log)
				}
			})
		})
	}
}

// reloadCalls reloads and gives what that did in the kernel, in order.
func (b *bench) reloadCalls(clusters ...config.Cluster) string {
	b.t.Helper()
	var calls []string
	b.table.SetFault(func(c ipvs.Call) error {
		if c.Operation != "dump" {
			calls = append(calls, c.Operation+" "+c.Key.String())
		}
		return nil
	})
	b.marks.SetFault(func(operation string) error {
		if operation == "set marks" {
			calls = append(calls, operation)
		}
		return nil
	})
	writes := b.marks.Writes()
	if err := b.reload(clusters...); err != nil {
		b.t.Fatal(err)
	}
	if b.marks.Writes() == writes { // Set is also asked where the rules are right; it changes nothing then
		calls = slices.DeleteFunc(calls, func(c string) bool { return c == "set marks" })
	}
	b.table.SetFault(nil)
	b.marks.SetFault(nil)
	return strings.Join(calls, ", ")
}

func TestReloadAddsAndDrainsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.running()
		b.wait(10 * time.Second)
		db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 7, 2, 4)
		web.RampUpTime = 10 * time.Second
		if err := b.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.1"), 0, 3, 0); err != nil {
			t.Fatal(err)
		}
		asked := b.fleet.polled("10.0.0.2")
		if err := b.reload(db, idle, web); err != nil {
			t.Fatal(err)
		}
		if n := b.fleet.polled("10.0.0.2"); n != asked {
			t.Errorf("the reload asked a node whose settings did not change: %d polls before, %d after", asked, n)
		}
		b.wait(minGap) // the node that joined was asked at once, and begins its ramp
		b.want("7 wlc 10.0.0.1=0 10.0.0.2=100 10.0.0.4=1\n8 wlc 10.0.0.3=100")
		b.wait(5 * time.Second)
		if got := b.kernel(); strings.Contains(got, "10.0.0.4=0") || strings.Contains(got, "10.0.0.4=100") {
			t.Errorf("5 s into its ramp: %s", got)
		}
		b.wait(8 * time.Second)
		b.want("7 wlc 10.0.0.1=0 10.0.0.2=100 10.0.0.4=100\n8 wlc 10.0.0.3=100")
		c := b.engine.Status(t.Context()).Clusters[2]
		if n := c.Nodes[2]; n.State != "leaving" || n.ActiveConns != 3 || !strings.Contains(n.Why, "keeps its connections") {
			t.Errorf("the node that left: %+v", n)
		}
		b.wait(time.Minute) // drain_timeout
		b.want("7 wlc 10.0.0.2=100 10.0.0.4=100\n8 wlc 10.0.0.3=100")
	})
}

// The nodes that a cluster starts with take up traffic together; one that joins them a moment later finds them at work.
func TestWhoJoinsAYoungClusterRampsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		web := webapp("web", 7, 1, 2)
		web.RampUpTime = time.Minute
		b.fleet.set("10.0.0.1", 100)
		b.fleet.set("10.0.0.2", silent)
		b.fleet.set("10.0.0.3", 100)
		b.boot(web)
		b.start("web")
		b.wait(1500 * time.Millisecond) // it answers more than a poll later than the other one
		b.fleet.set("10.0.0.2", 100)
		b.wait(3 * time.Second)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100")
		web.Nodes = webapp("web", 7, 1, 2, 3).Nodes
		if err := b.reload(web); err != nil {
			t.Fatal(err)
		}
		b.wait(minGap)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100 10.0.0.3=1")
	})
}

func TestReloadTakesTheFolderOfFilesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		clusters, dir := b.running(), t.TempDir()
		if err := errors.Join(os.Mkdir(dir+"/down", 0o755), os.WriteFile(dir+"/down/web", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := b.engine.Reload(t.Context(), &config.Config{Clusters: clusters, Balancer: config.Balancer{OverrideDir: dir}}, false); err != nil {
			t.Fatal(err)
		}
		b.turn()
		b.want("7 wlc 10.0.0.1=0 10.0.0.2=0\n8 wlc 10.0.0.3=100")
	})
}

func TestReloadAddsAndRemovesClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.running()
		added, adopted := webapp("added", 10, 4), webapp("adopted", 11, 4)
		added.Autostart = true
		b.seed(11, "wlc", map[int]ipvs.Weight{4: 60})
		if err := b.reload(added, adopted, webapp("web", 7, 1, 2)); err != nil {
			t.Fatal(err)
		}
		b.wait(3 * time.Second)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100\n10 wlc 10.0.0.4=100\n11 wlc 10.0.0.4=100")
		if rules, _ := b.marks.List(t.Context()); len(rules) != 3 {
			t.Errorf("marking rules %v, want those of the three clusters", rules)
		}
		if told := b.kinds(0); strings.Count(told, "cluster_stopped") != 1 || !strings.Contains(told, "cluster_stopped db") || strings.Contains(told, "renamed") {
			t.Errorf("events\n%s\nwant the end of db and of no other, and no new name", told)
		}
		before := b.fleet.polled("10.0.0.3")
		b.wait(10 * time.Second)
		if n := b.fleet.polled("10.0.0.3"); n != before {
			t.Error("a node of a cluster that left the config is still asked")
		}
	})
}

func TestReloadGuard(t *testing.T) {
	tests := []struct {
		name    string
		start   []string
		stop    []string
		left    []string
		refused bool
	}{
		{"empty", nil, nil, nil, true},
		{"half of two", nil, nil, []string{"web"}, false},
		{"none of two, the idle one stays", nil, nil, []string{"idle"}, true},
		{"the only one that runs", nil, []string{"db"}, []string{"db", "idle"}, true},
		{"all were stopped first", nil, []string{"db", "web"}, nil, false},
		{"two of three", []string{"idle"}, nil, []string{"web"}, true},
		{"one of three", []string{"idle"}, nil, []string{"db", "web"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				clusters := b.running()
				for _, name := range tt.start {
					b.start(name)
				}
				for _, name := range tt.stop {
					if _, err := b.engine.Stop(t.Context(), name, "test"); err != nil {
						t.Fatal(err)
					}
				}
				pages := func() (all map[string]*page.Content) {
					_ = b.engine.do(t.Context(), func(context.Context) { all = b.engine.contents })
					return all
				}
				_ = b.engine.do(t.Context(), func(context.Context) { b.engine.contents = map[string]*page.Content{"somebody's": nil} })
				before := b.kernel()
				clusters = slices.DeleteFunc(clusters, func(c config.Cluster) bool { return !slices.Contains(tt.left, c.Name) })
				err := b.reload(clusters...)
				if refused := err != nil; refused != tt.refused {
					t.Fatalf("refused is %v (%v), want %v", refused, err, tt.refused)
				}
				if tt.refused {
					if !strings.Contains(err.Error(), "lb ctl cluster stop") {
						t.Errorf("the refusal does not say what to do: %v", err)
					}
					b.wait(10 * time.Second)
					b.want(before)
				}
				if _, kept := pages()["somebody's"]; kept != tt.refused {
					t.Errorf("the pages of before are kept: %v; the config was refused: %v", kept, tt.refused)
				}
			})
		})
	}
}

func TestReloadWithoutMarksKeepsTheOldService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.running()
		b.marks.SetFault(func(string) error { return errBusy })
		db, idle, web := webapp("db", 8, 3), webapp("idle", 9, 4), webapp("web", 70, 1, 2)
		if err := b.reload(db, idle, web); err != nil {
			t.Fatal(err)
		}
		b.wait(10 * time.Second) // packets still get the old mark
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100\n8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100")
		if c := b.engine.Status(t.Context()).Clusters[2]; !strings.Contains(c.LastError, "busy") {
			t.Errorf("last_error %q", c.LastError)
		}
		b.marks.SetFault(nil)
		b.wait(2*time.Second + minGap)
		b.want("8 wlc 10.0.0.3=100\n70 wlc 10.0.0.1=100 10.0.0.2=100")
	})
}

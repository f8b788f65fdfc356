package balancer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// checkedPlan returns the plan of a reload with cfg or, if cfg is nil, of the next reconcile. It checks that planning changes nothing.
func (r *rig) checkedPlan(cfg *config.Config) api.Plan {
	r.t.Helper()
	calls, writes, kernel, events := len(r.table.Calls()), r.marks.Writes(), r.dump(), r.engine.rec.Report.Journal.Last()
	p, err := r.engine.Plan(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range r.table.Calls()[calls:] {
		if c.Operation != "dump" && c.Operation != "list daemons" && c.Operation != "read timeouts" {
			r.t.Errorf("the plan called: %v", c)
		}
	}
	if r.dump() != kernel || r.marks.Writes() != writes || r.engine.rec.Report.Journal.Last() != events {
		r.t.Error("the plan changed something")
	}
	return p
}

func (r *rig) setConns(m ipvs.Mark, node string, active, inactive int) {
	r.t.Helper()
	if err := r.table.SetConns(ipvs.Key{Mark: m, Family: ipvs.IPv4}, addr(node), 0, active, inactive); err != nil {
		r.t.Fatal(err)
	}
}

func TestAPlanMatchesTheReload(t *testing.T) {
	auto := func(c config.Cluster) config.Cluster { c.Autostart = true; return c }
	scheduler := func(c config.Cluster) config.Cluster { c.Scheduler = "rr"; return c }
	for _, tt := range []struct {
		name string
		to   []config.Cluster
		want string
	}{
		{"no change", []config.Cluster{webapp("api", 8, 3), webapp("web", 7, 1, 2)}, "nothing to change\n"},
		{"a node is removed", []config.Cluster{webapp("api", 8, 3), webapp("web", 7, 1)}, `mark 7: node 10.0.0.2 weight 40 → 0
connections: web, mark 7, node 10.0.0.2: 12 active, 3 inactive; they continue for up to 1m0s
`},
		{"an idle node is removed", []config.Cluster{webapp("api", 8, 3), webapp("web", 7, 2)}, `mark 7: remove node 10.0.0.1
connections: web, mark 7, node 10.0.0.1: none
`},
		{"a node is added", []config.Cluster{webapp("api", 8, 3), webapp("web", 7, 1, 2, 9)}, `mark 7: add node 10.0.0.9 weight 0, tunnel
note: cluster web, node 10.0.0.9: its weight depends on its first response
`},
		{"a cluster is removed", []config.Cluster{webapp("web", 7, 1, 2)}, `mark 8: remove tcp 204.109.13.7:8 on eth10
mark 8: remove service
connections: api, mark 8, node 10.0.0.3: 5 active, 0 inactive; they break
`},
		{"all are removed", nil, `a reload would be refused: refusing to remove 2 of 2 running clusters (api, web): use ` +
			"`lb ctl reload --force` if this is intended, or stop each of them first with `lb ctl cluster stop NAME`" + `
with --force it would do:
mark 7: remove tcp 204.109.13.7:7 on eth10
mark 8: remove tcp 204.109.13.7:8 on eth10
mark 7: remove service
mark 8: remove service
connections: web, mark 7, node 10.0.0.1: none
connections: web, mark 7, node 10.0.0.2: 12 active, 3 inactive; they break
connections: api, mark 8, node 10.0.0.3: 5 active, 0 inactive; they break
`},
		{"a cluster is added", []config.Cluster{
			webapp("api", 8, 3), auto(webapp("new", 9, 1)), webapp("off", 10, 1), webapp("web", 7, 1, 2),
		}, `mark 9: add service, scheduler wlc
mark 9: add node 10.0.0.1 weight 0, tunnel
mark 9: add tcp 204.109.13.7:9 on eth10
mark 10: add tcp 204.109.13.7:10 on eth10
note: cluster new, node 10.0.0.1: its weight depends on its first response
note: cluster new starts when its nodes have responded, or after 1s
`},
		{"another mark", []config.Cluster{webapp("api", 11, 3), webapp("web", 7, 1, 2)}, `mark 11: add service, scheduler wlc
mark 11: add node 10.0.0.3 weight 70, tunnel
mark 8: remove tcp 204.109.13.7:8 on eth10
mark 11: add tcp 204.109.13.7:11 on eth10
mark 8: remove service
connections: api, mark 8, node 10.0.0.3: 5 active, 0 inactive; they break
`},
		{"another name and scheduler", []config.Cluster{scheduler(webapp("rest", 8, 3)), webapp("web", 7, 1, 2)},
			`mark 8: service scheduler wlc → rr
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				for node, health := range map[string]int{"10.0.0.1": 92, "10.0.0.2": 40, "10.0.0.3": 70, "10.0.0.9": timesOut} {
					r.fleet.set(node, health)
				}
				r.boot(webapp("api", 8, 3), webapp("web", 7, 1, 2))
				r.start("web")
				r.start("api")
				r.setConns(7, "10.0.0.2", 12, 3)
				r.setConns(8, "10.0.0.3", 5, 0)
				p := r.checkedPlan(&config.Config{Clusters: tt.to})
				if diff := cmp.Diff(tt.want, p.String()); diff != "" {
					t.Error(diff)
				}
				table, rules := r.tables()
				if err := r.engine.Reload(t.Context(), &config.Config{Clusters: tt.to}, true); err != nil {
					t.Fatal(err)
				}
				if tt.name != "a cluster is added" { // it starts later
					if diff := cmp.Diff(sortedChanges(p.Changes), r.changesSince(table, rules)); diff != "" {
						t.Errorf("plan (-) and reload (+) differ:\n%s", diff)
					}
				}
				r.wait(time.Minute + sitePoll)
				if after := r.checkedPlan(nil).String(); after != "nothing to change\n" {
					t.Errorf("plan after the reload: %s", after)
				}
			})
		})
	}
}

// tables returns the kernel's tables.
func (r *rig) tables() ([]ipvs.Service, []mark.Rule) {
	r.t.Helper()
	services, err := r.table.Dump(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	rules, err := r.marks.List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return services, rules
}

// changesSince lists the differences between earlier tables and the kernel's, sorted.
func (r *rig) changesSince(table []ipvs.Service, rules []mark.Rule) []string {
	r.t.Helper()
	services, now := r.tables()
	all := map[ipvs.Mark]bool{}
	for _, s := range slices.Concat(services, table) {
		all[s.Mark] = true
	}
	words := []string{}
	for _, op := range plan.Diff(services, table, all) {
		words = append(words, op.String())
	}
	for _, op := range plan.DiffMarks(now, rules) {
		words = append(words, op.String())
	}
	slices.Sort(words)
	return words
}

func sortedChanges(changes []api.PlanChange) []string {
	words := []string{}
	for _, c := range changes {
		words = append(words, c.Change)
	}
	slices.Sort(words)
	return words
}

func TestThePlanOfTheNextReconcileShowsDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		if p := r.checkedPlan(nil); p.String() != "nothing to change\n" {
			t.Errorf("plan %s", p)
		}
		r.seed(7, "rr", map[int]ipvs.Weight{1: 92})
		if p := r.checkedPlan(nil); p.String() != "mark 7: service scheduler rr → wlc\n" {
			t.Errorf("plan %s", p)
		}
		r.table.SetFault(func(ipvs.Call) error { return errBusy })
		if _, err := r.engine.Plan(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "busy") {
			t.Errorf("with a table that cannot be read: %v", err)
		}
		r.table.SetFault(nil)
	})
}

// In a plan, a drain follows its renamed cluster. On disk it keeps the old name.
func TestAPlanRenamesNoDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 92)
		r.boot(webapp("web", 7, 1, 2))
		r.start("web")
		r.drain("10.0.0.2")
		if p := r.checkedPlan(&config.Config{Clusters: []config.Cluster{webapp("site", 7, 1, 2)}}); p.String() != "nothing to change\n" {
			t.Errorf("plan %s", p)
		}
		if d := r.engine.drains.store.All(); len(d) != 1 || d[0].Cluster != "web" {
			t.Errorf("drains %+v", d)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
	})
}

func TestAPlanIncludesTheSyncDaemons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		cfg := &config.Config{Clusters: []config.Cluster{webapp("web", 7, 1)}}
		cfg.Balancer.Sync = config.Sync{Interface: "eth1", ID: 7}
		const starts = "start the master sync daemon on eth1, id 7\nstart the backup sync daemon on eth1, id 7\n"
		if p := r.checkedPlan(cfg); p.String() != starts {
			t.Errorf("plan %s", p)
		}
		if err := r.engine.Reload(t.Context(), cfg, false); err != nil {
			t.Fatal(err)
		}
		if p := r.checkedPlan(cfg); p.String() != "nothing to change\n" {
			t.Errorf("plan %s", p)
		}
		cfg.Balancer.Sync = config.Sync{}
		const stops = "stop the master sync daemon on eth1, id 7\nstop the backup sync daemon on eth1, id 7\n"
		if p := r.checkedPlan(cfg); p.String() != stops {
			t.Errorf("plan %s", p)
		}
	})
}

func TestAPlanNotesASiteThatHasNotResponded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.sites.set(1, "10.9.0.1=80")
		r.boot(withSites("web", 7, []int{1}, 1))
		r.start("web")
		p := r.checkedPlan(&config.Config{Clusters: []config.Cluster{withSites("web", 7, []int{1, 2}, 1)}})
		const want = "nothing to change\nnote: cluster web: what 10.2.0.2:9292 lists is unknown until its first response\n"
		if p.String() != want {
			t.Errorf("plan %s", p)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.9.0.1=80\n10007 wlc 10.0.0.1=92")
	})
}

func TestAPlanOverHTTP(t *testing.T) {
	_, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	cfg.Clusters[0].Autostart = true
	o := options(cfg)
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	b, _ := runDaemon(t, o)
	<-ready
	candidate := func(texts ...string) string {
		c := api.Candidate{}
		for i, text := range texts {
			c.Files = append(c.Files, config.File{Name: fmt.Sprintf("/tmp/%d.toml", i), Text: text})
		}
		body, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	const web = `[clusters.web]
fwmark = 7
vips = [ { address = "204.109.13.7", interface = "eth10", ports = [ 7 ] } ]
nodes = [ { address = "127.0.0.1" }, { address = "127.0.0.2" } ]
`
	for _, tt := range []struct {
		name, socket, method, body string
		status                     int
		want                       string
	}{
		{"next reconcile, over TCP", "", "GET", "", 200, "nothing to change"},
		{"a config over TCP", "", "POST", candidate(web), 403, "not accepted over TCP"},
		{"not JSON", cfg.Balancer.Control, "POST", "", 400, "not a configuration in JSON"},
		{"no files", cfg.Balancer.Control, "POST", "{}", 400, "no files"},
		{"an invalid key", cfg.Balancer.Control, "POST", candidate("[clusters.web]\nfwmrk = 7"), 200, "/tmp/0.toml:2"},
		{"an empty config", cfg.Balancer.Control, "POST", candidate(""), 200, "lb ctl reload --force"},
		{"an included file", cfg.Balancer.Control, "POST", candidate(`include = ["1.toml"]`, web), 200,
			"mark 7: add node 127.0.0.2 weight 0, tunnel"},
		{"too large", cfg.Balancer.Control, "POST", candidate(strings.Repeat("#\n", 4<<20/2)), 413, "larger than 4 MiB"},
		{"another method", cfg.Balancer.Control, "PUT", "", 404, "Not Found"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+b.Addr().String()+"/plan", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		status, body := send(t, tt.socket, req)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %q, want %d %q", tt.name, status, body, tt.status, tt.want)
		}
	}
}

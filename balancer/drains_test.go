package balancer

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/ipvs"
)

// ordered sends a drain or its end as ctl does, and gives status and body.
func (b *bench) ordered(method, target string) (int, string) {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w.Code, w.Body.String()
}

// audited is the record of who drained what.
func (b *bench) audited() string {
	b.t.Helper()
	record, err := os.ReadFile(filepath.Join(b.dir, audit.FileName))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(record)
}

// twoNodes runs a cluster of two healthy nodes that ramp for 100 s.
func twoNodes(b *bench, more ...func(*config.Cluster)) {
	b.fleet.set("10.0.0.1", 92)
	b.fleet.set("10.0.0.2", 100)
	c := webapp("web", 7, 1, 2)
	c.RampUpTime, c.MinHealthy = 100*time.Second, 1
	for _, change := range more {
		change(&c)
	}
	b.boot(c)
	b.start("web")
	b.wait(10 * time.Second)
	b.want("7 wlc 10.0.0.1=92 10.0.0.2=100")
}

func TestADrainTakesANodeOutAndItsEndRampsItUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		twoNodes(b)
		status, body := b.ordered("POST", "/cluster/web/drain/10.0.0.2?reason=new+disks&who=kim&for=1h")
		until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		if status != 200 || body != "10.0.0.2 is drained in web, until "+until+"\n" {
			t.Errorf("drain: %d %q", status, body)
		}
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0") // when the answer comes
		n := b.engine.Status(t.Context()).Clusters[0].Nodes[1]
		if n.State != "drained" || n.Why != "drained by kim: new disks, until "+until || n.Drain == nil || n.Drain.Who != "kim" {
			t.Errorf("status %+v", n)
		}
		if err := b.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.2"), 0, 3, 1); err != nil {
			t.Fatal(err)
		}
		b.wait(10 * time.Second)
		if n := b.engine.Status(t.Context()).Clusters[0].Nodes[1]; n.State != "draining" || n.ActiveConns != 3 {
			t.Errorf("with connections it is %s, %d active", n.State, n.ActiveConns)
		}
		if _, body := b.ordered("GET", "/drains"); body != "web 10.0.0.2 by kim: new disks\n" {
			t.Errorf("list: %q", body)
		}
		if _, body := b.ordered("GET", "/cluster/web/status_detail"); !strings.Contains(body, `"10.0.0.2":0`) {
			t.Errorf("status_detail lacks the drained node: %s", body)
		}
		if status, body := b.ordered("DELETE", "/drain/10.0.0.2?who=ann"); status != 200 || body != "10.0.0.2 is no longer drained in web\n" {
			t.Errorf("undrain: %d %q", status, body)
		}
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=1")
		b.wait(102 * time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=100")
		b.wantLog(`msg="node drained" cluster=web node=10.0.0.2 cause="by kim: new disks`, `msg="node resumed"`)
		record := b.audited()
		for _, want := range []string{`"change":"drained","cluster":"web","node":"10.0.0.2","kind":"drain","reason":"new disks","who":"kim"`, `"change":"undrained"`, `"who":"ann"`} {
			if !strings.Contains(record, want) {
				t.Errorf("the record lacks %s:\n%s", want, record)
			}
		}
	})
}

func TestADrainSurvivesARestartAndEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		twoNodes(b)
		b.ordered("POST", "/cluster/web/drain/10.0.0.2?for=10m")
		b.kill()
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		b.boot(c)
		b.wait(9 * time.Minute)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		b.wait(time.Minute + 4*time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=2")
		b.wantLog("drain expired")
		b.wait(102 * time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=100")
		if record := b.audited(); !strings.Contains(record, `"change":"expired"`) {
			t.Errorf("the record:\n%s", record)
		}
	})
}

func TestADrainThatLeavesTooFewIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		least  int
		before string // what is asked first
		health int    // of 10.0.0.1
		ask    string
		status int
	}{
		{"one healthy node stays", 1, "", 92, "/cluster/web/drain/10.0.0.2", 200},
		{"the other one is down", 1, "", 0, "/cluster/web/drain/10.0.0.2", 409},
		{"the node itself is down", 1, "", 0, "/cluster/web/drain/10.0.0.1", 200},
		{"the other one is drained", 1, "/cluster/web/drain/10.0.0.1", 92, "/cluster/web/drain/10.0.0.2", 409},
		{"by host", 1, "/drain/10.0.0.1", 92, "/drain/10.0.0.2", 409},
		{"again, with another reason", 1, "/cluster/web/drain/10.0.0.1", 92, "/cluster/web/drain/10.0.0.1?reason=b", 200},
		{"two are wanted", 2, "", 92, "/cluster/web/drain/10.0.0.2", 409},
		{"none is wanted", 0, "", 0, "/cluster/web/drain/10.0.0.2", 200},
		{"forced", 1, "", 0, "/cluster/web/drain/10.0.0.2?force=true", 200},
		{"unknown cluster", 1, "", 92, "/cluster/nope/drain/10.0.0.2", 404},
		{"unknown node", 1, "", 92, "/cluster/web/drain/10.0.0.9", 404},
		{"unknown host", 1, "", 92, "/drain/10.0.0.9", 404},
		{"no address", 1, "", 92, "/cluster/web/drain/app01", 400},
		{"no time", 1, "", 92, "/cluster/web/drain/10.0.0.2?for=soon", 400},
		{"no yes or no", 1, "", 92, "/cluster/web/drain/10.0.0.2?force=maybe", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				twoNodes(b, func(c *config.Cluster) { c.MinHealthy = tt.least })
				b.fleet.set("10.0.0.1", tt.health)
				b.wait(5 * time.Second)
				if tt.before != "" {
					if status, body := b.ordered("POST", tt.before); status != 200 {
						t.Fatalf("%d %s", status, body)
					}
				}
				status, body := b.ordered("POST", tt.ask)
				if status != tt.status {
					t.Errorf("%d %q, want %d", status, body, tt.status)
				}
				if status == 409 && !strings.Contains(body, "--force") || strings.Contains(tt.ask, ".9") && !strings.Contains(body, "10.0.0.1, 10.0.0.2") {
					t.Errorf("no way out in %q", body)
				}
			})
		})
	}
}

func TestAHostIsDrainedInAllItsClustersOrInNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			b.fleet.set(a, 100)
		}
		shop, web, alone := webapp("shop", 2, 1, 2), webapp("web", 3, 1, 3), webapp("alone", 1, 2)
		alone.MinHealthy = 1
		b.boot(alone, shop, web)
		for _, name := range []string{"alone", "shop", "web"} {
			b.start(name)
		}
		b.wait(5 * time.Second)
		if status, body := b.ordered("POST", "/drain/10.0.0.1"); status != 200 || strings.Count(body, "is drained in") != 2 {
			t.Errorf("%d %q", status, body)
		}
		b.want("1 wlc 10.0.0.2=100\n2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=0 10.0.0.3=100")
		if status, body := b.ordered("POST", "/drain/10.0.0.2"); status != 409 || !strings.Contains(body, "cluster alone has 0 healthy nodes") {
			t.Errorf("%d %q", status, body)
		}
		b.want("1 wlc 10.0.0.2=100\n2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=0 10.0.0.3=100")
		if status, _ := b.ordered("DELETE", "/cluster/web/drain/10.0.0.1"); status != 200 {
			t.Errorf("undrain in one of them: %d", status)
		}
		b.want("1 wlc 10.0.0.2=100\n2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=100 10.0.0.3=100")
		for target, want := range map[string]int{"/cluster/web/drain/10.0.0.1": 404, "/drain/10.0.0.3": 404, "/cluster/nope/drain/10.0.0.1": 404} {
			if status, body := b.ordered("DELETE", target); status != want {
				t.Errorf("DELETE %s: %d %q, want %d", target, status, body, want)
			}
		}
	})
}

// A drain outlives its node: what is back in the config after a repair is let in by a person, not by the config.
func TestADrainOfANodeThatLeftTheConfigIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		twoNodes(b)
		b.ordered("POST", "/cluster/web/drain/10.0.0.2?who=kim&reason=disks")
		one, both := webapp("web", 7, 1), webapp("web", 7, 1, 2)
		if err := b.reload(one); err != nil {
			t.Fatal(err)
		}
		if all := b.engine.Drains(t.Context()); len(all) != 1 || !all[0].Stale {
			t.Errorf("drains %+v", all)
		}
		if err := b.reload(both); err != nil {
			t.Fatal(err)
		}
		b.wait(10 * time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		renamed := webapp("shop", 7, 1, 2)
		if err := b.reload(renamed); err != nil {
			t.Fatal(err)
		}
		b.wait(10 * time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=0")
		if all := b.engine.Drains(t.Context()); len(all) != 1 || all[0].Stale || all[0].Cluster != "shop" {
			t.Errorf("drains after a rename %+v", all)
		}
	})
}

func TestADrainThatCannotBeKeptIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		twoNodes(b)
		if err := os.RemoveAll(b.dir); err != nil {
			t.Fatal(err)
		}
		if status, body := b.ordered("POST", "/cluster/web/drain/10.0.0.2"); status != 500 || !strings.Contains(body, "nothing has changed") {
			t.Errorf("%d %q", status, body)
		}
		b.wait(10 * time.Second)
		b.want("7 wlc 10.0.0.1=92 10.0.0.2=100")
	})
}

// Ann's drain stands, whatever becomes of Kim's: who takes the place of a drain and fails gives it back.
func TestADrainOfAHostThatFailsHalfWayLeavesTheOlderOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			b.fleet.set(a, 100)
		}
		b.boot(webapp("shop", 2, 1, 2), webapp("web", 3, 1, 3))
		b.start("shop")
		b.start("web")
		b.wait(5 * time.Second)
		if status, body := b.ordered("POST", "/cluster/shop/drain/10.0.0.1?who=ann&reason=disks"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		// A folder stands where the file of the second drain is to be.
		if err := os.MkdirAll(filepath.Join(b.dir, "drain.web.10.0.0.1.json", "y"), 0o700); err != nil {
			t.Fatal(err)
		}
		if status, body := b.ordered("POST", "/drain/10.0.0.1?who=kim&for=1h"); status != 500 || !strings.Contains(body, "nothing has changed") {
			t.Errorf("%d %q", status, body)
		}
		b.wait(5 * time.Second)
		b.want("2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=100 10.0.0.3=100")
		if all := b.engine.Drains(t.Context()); len(all) != 1 || all[0].Who != "ann" || !all[0].Expires.IsZero() {
			t.Errorf("drains %+v, want Ann's alone", all)
		}
		if strings.Contains(b.log.String(), "the drain before ends") {
			t.Errorf("the log tells the end of a drain that stands:\n%s", b.log)
		}
	})
}

// A reload that is refused half-way through the drains has changed none of them.
func TestAReloadThatCannotMoveAllDrainsMovesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} {
			b.fleet.set(a, 100)
		}
		b.boot(webapp("shop", 2, 1, 2), webapp("web", 3, 3, 4))
		b.start("shop")
		b.start("web")
		b.wait(5 * time.Second)
		for _, target := range []string{"/cluster/shop/drain/10.0.0.1?who=ann", "/cluster/web/drain/10.0.0.3?who=ann"} {
			if status, body := b.ordered("POST", target); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
		if err := os.MkdirAll(filepath.Join(b.dir, "drain.web2.10.0.0.3.json", "y"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := b.reload(webapp("shop2", 2, 1, 2), webapp("web2", 3, 3, 4)); err == nil || !strings.Contains(err.Error(), "web2") {
			t.Fatalf("reload = %v, want a refusal", err)
		}
		b.wait(5 * time.Second)
		b.want("2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.3=0 10.0.0.4=100")
		if all := b.engine.Drains(t.Context()); len(all) != 2 || all[0].Stale || all[1].Stale {
			t.Errorf("drains %+v", all)
		}
	})
}

// A node that stands by is as good as any other to take over from the one that is drained.
func TestTheActiveNodeMayBeDrainedWhileAnotherStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.fleet.set("10.0.0.2", 100)
		c := passive(1, 2)
		c.MinHealthy = 1
		b.boot(c)
		b.start("web")
		if status, body := b.ordered("POST", "/drain/10.0.0.1"); status != 200 {
			t.Errorf("the active one, with another that stands by: %d %s", status, body)
		}
		b.want("7 wlc 10.0.0.1=0 10.0.0.2=100")
		if status, body := b.ordered("POST", "/drain/10.0.0.2"); status != 409 {
			t.Errorf("the last one: %d %s", status, body)
		}
	})
}

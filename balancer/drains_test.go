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

// request sends a request to the handler and returns status and body.
func (r *rig) request(method, target string) (int, string) {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.handler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w.Code, w.Body.String()
}

// auditLog returns the audit log.
func (r *rig) auditLog() string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, audit.FileName))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// bootTwoNodes runs a cluster, web, of two healthy nodes with a ramp-up time of 100 s.
func (r *rig) bootTwoNodes(more ...func(*config.Cluster)) {
	r.fleet.set("10.0.0.1", 92)
	r.fleet.set("10.0.0.2", 100)
	c := webapp("web", 7, 1, 2)
	c.RampUpTime, c.MinHealthy = 100*time.Second, 1
	for _, change := range more {
		change(&c)
	}
	r.boot(c)
	r.start("web")
	r.wait(10 * time.Second)
	r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=100")
}

func TestADrainSetsWeightZeroAndResumingRampsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootTwoNodes()
		status, body := r.request("POST", "/cluster/web/drain/10.0.0.2?reason=new+disks&who=kim&for=1h")
		until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		if status != 200 || body != "10.0.0.2 is drained in web, until "+until+"\n" {
			t.Errorf("drain: %d %q", status, body)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0") // once the request returns
		n := r.engine.Status(t.Context()).Clusters[0].Nodes[1]
		if n.State != "drained" || n.Why != "drained by kim: new disks, until "+until || n.Drain == nil || n.Drain.Who != "kim" {
			t.Errorf("status %+v", n)
		}
		if err := r.table.SetConns(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, addr("10.0.0.2"), 0, 3, 1); err != nil {
			t.Fatal(err)
		}
		r.wait(10 * time.Second)
		if n := r.engine.Status(t.Context()).Clusters[0].Nodes[1]; n.State != "draining" || n.ActiveConns != 3 {
			t.Errorf("with connections its state is %s, %d active", n.State, n.ActiveConns)
		}
		if _, body := r.request("GET", "/drains"); body != "web 10.0.0.2 by kim: new disks\n" {
			t.Errorf("GET /drains: %q", body)
		}
		if _, body := r.request("GET", "/cluster/web/status_detail"); !strings.Contains(body, `"10.0.0.2":0`) {
			t.Errorf("status_detail does not list the drained node: %s", body)
		}
		if status, body := r.request("DELETE", "/drain/10.0.0.2?who=ann"); status != 200 ||
			body != "10.0.0.2 is no longer drained in web\n" {
			t.Errorf("resume: %d %q", status, body)
		}
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=1")
		r.wait(102 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=100")
		r.wantLog(`msg="node drained" cluster=web node=10.0.0.2 cause="by kim: new disks`, `msg="node resumed"`)
		log := r.auditLog()
		for _, want := range []string{
			`"change":"drained","cluster":"web","node":"10.0.0.2","kind":"drain","reason":"new disks","who":"kim"`,
			`"change":"undrained"`, `"who":"ann"`,
		} {
			if !strings.Contains(log, want) {
				t.Errorf("the audit log does not contain %s:\n%s", want, log)
			}
		}
	})
}

func TestADrainSurvivesARestartAndExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootTwoNodes()
		r.request("POST", "/cluster/web/drain/10.0.0.2?for=10m")
		r.kill()
		c := webapp("web", 7, 1, 2)
		c.RampUpTime = 100 * time.Second
		r.boot(c)
		r.wait(9 * time.Minute)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		r.wait(time.Minute + 4*time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=2")
		r.wantLog("drain expired")
		r.wait(102 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=100")
		if log := r.auditLog(); !strings.Contains(log, `"change":"expired"`) {
			t.Errorf("the audit log does not record the expiry:\n%s", log)
		}
	})
}

func TestADrainThatLeavesTooFewNodesIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		least  int    // min_healthy
		before string // an earlier drain
		health int    // of 10.0.0.1
		target string
		status int
	}{
		{"one healthy node is left", 1, "", 92, "/cluster/web/drain/10.0.0.2", 200},
		{"the other one is down", 1, "", 0, "/cluster/web/drain/10.0.0.2", 409},
		{"the node itself is down", 1, "", 0, "/cluster/web/drain/10.0.0.1", 200},
		{"the other one is drained", 1, "/cluster/web/drain/10.0.0.1", 92, "/cluster/web/drain/10.0.0.2", 409},
		{"by host", 1, "/drain/10.0.0.1", 92, "/drain/10.0.0.2", 409},
		{"again, with another reason", 1, "/cluster/web/drain/10.0.0.1", 92, "/cluster/web/drain/10.0.0.1?reason=b", 200},
		{"min_healthy is 2", 2, "", 92, "/cluster/web/drain/10.0.0.2", 409},
		{"min_healthy is 0", 0, "", 0, "/cluster/web/drain/10.0.0.2", 200},
		{"forced", 1, "", 0, "/cluster/web/drain/10.0.0.2?force=true", 200},
		{"unknown cluster", 1, "", 92, "/cluster/nope/drain/10.0.0.2", 404},
		{"unknown node", 1, "", 92, "/cluster/web/drain/10.0.0.9", 404},
		{"unknown host", 1, "", 92, "/drain/10.0.0.9", 404},
		{"invalid address", 1, "", 92, "/cluster/web/drain/app01", 400},
		{"invalid duration", 1, "", 92, "/cluster/web/drain/10.0.0.2?for=soon", 400},
		{"invalid force", 1, "", 92, "/cluster/web/drain/10.0.0.2?force=maybe", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.bootTwoNodes(func(c *config.Cluster) { c.MinHealthy = tt.least })
				r.fleet.set("10.0.0.1", tt.health)
				r.wait(5 * time.Second)
				if tt.before != "" {
					if status, body := r.request("POST", tt.before); status != 200 {
						t.Fatalf("%d %s", status, body)
					}
				}
				status, body := r.request("POST", tt.target)
				if status != tt.status {
					t.Errorf("%d %q, want %d", status, body, tt.status)
				}
				if status == 409 && !strings.Contains(body, "--force") ||
					strings.Contains(tt.target, ".9") && !strings.Contains(body, "10.0.0.1, 10.0.0.2") {
					t.Errorf("%q does not say what to do", body)
				}
			})
		})
	}
}

func TestAHostIsDrainedInAllItsClustersOrInNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			r.fleet.set(a, 100)
		}
		shop, web, alone := webapp("shop", 2, 1, 2), webapp("web", 3, 1, 3), webapp("alone", 1, 2)
		alone.MinHealthy = 1
		r.boot(alone, shop, web)
		for _, name := range []string{"alone", "shop", "web"} {
			r.start(name)
		}
		r.wait(5 * time.Second)
		if status, body := r.request("POST", "/drain/10.0.0.1"); status != 200 || strings.Count(body, "is drained in") != 2 {
			t.Errorf("%d %q", status, body)
		}
		r.wantTable("1 wlc 10.0.0.2=100\n2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=0 10.0.0.3=100")
		if status, body := r.request("POST", "/drain/10.0.0.2"); status != 409 ||
			!strings.Contains(body, "cluster alone has 0 healthy nodes") {
			t.Errorf("%d %q", status, body)
		}
		r.wantTable("1 wlc 10.0.0.2=100\n2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=0 10.0.0.3=100")
		if status, _ := r.request("DELETE", "/cluster/web/drain/10.0.0.1"); status != 200 {
			t.Errorf("resume in one of them: %d", status)
		}
		r.wantTable("1 wlc 10.0.0.2=100\n2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=100 10.0.0.3=100")
		for target, want := range map[string]int{"/cluster/web/drain/10.0.0.1": 404, "/drain/10.0.0.3": 404,
			"/cluster/nope/drain/10.0.0.1": 404} {
			if status, body := r.request("DELETE", target); status != want {
				t.Errorf("DELETE %s: %d %q, want %d", target, status, body, want)
			}
		}
	})
}

// A drain outlives its node: when the node returns to the config after a repair, an operator has to resume it.
func TestADrainOfANodeThatLeftTheConfigIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootTwoNodes()
		r.request("POST", "/cluster/web/drain/10.0.0.2?who=kim&reason=disks")
		one, both := webapp("web", 7, 1), webapp("web", 7, 1, 2)
		if err := r.reload(one); err != nil {
			t.Fatal(err)
		}
		if all := r.engine.Drains(t.Context()); len(all) != 1 || !all[0].Stale {
			t.Errorf("drains %+v", all)
		}
		if err := r.reload(both); err != nil {
			t.Fatal(err)
		}
		r.wait(10 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		renamed := webapp("shop", 7, 1, 2)
		if err := r.reload(renamed); err != nil {
			t.Fatal(err)
		}
		r.wait(10 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0")
		if all := r.engine.Drains(t.Context()); len(all) != 1 || all[0].Stale || all[0].Cluster != "shop" {
			t.Errorf("drains after a rename %+v", all)
		}
	})
}

func TestADrainThatCannotBeStoredHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.bootTwoNodes()
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		if status, body := r.request("POST", "/cluster/web/drain/10.0.0.2"); status != 500 ||
			!strings.Contains(body, "nothing has changed") {
			t.Errorf("%d %q", status, body)
		}
		r.wait(10 * time.Second)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=100")
	})
}

// When Kim's drain of the host fails, Ann's earlier drain, which it would have replaced, stays in effect.
func TestAFailedDrainOfAHostKeepsEarlierDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			r.fleet.set(a, 100)
		}
		r.boot(webapp("shop", 2, 1, 2), webapp("web", 3, 1, 3))
		r.start("shop")
		r.start("web")
		r.wait(5 * time.Second)
		if status, body := r.request("POST", "/cluster/shop/drain/10.0.0.1?who=ann&reason=disks"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		// A directory is in the way of the second drain's file.
		if err := os.MkdirAll(filepath.Join(r.dir, "drain.web.10.0.0.1.json", "y"), 0o700); err != nil {
			t.Fatal(err)
		}
		if status, body := r.request("POST", "/drain/10.0.0.1?who=kim&for=1h"); status != 500 ||
			!strings.Contains(body, "nothing has changed") {
			t.Errorf("%d %q", status, body)
		}
		r.wait(5 * time.Second)
		r.wantTable("2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.1=100 10.0.0.3=100")
		if all := r.engine.Drains(t.Context()); len(all) != 1 || all[0].Who != "ann" || !all[0].Expires.IsZero() {
			t.Errorf("drains %+v; want only Ann's", all)
		}
		if strings.Contains(r.log.String(), "drain replaced") {
			t.Errorf("the log reports a replaced drain that is still in effect:\n%s", r.log)
		}
	})
}

// When a drain cannot be renamed, the reload is refused and no drain changes.
func TestAReloadThatCannotRenameAllDrainsRenamesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, a := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} {
			r.fleet.set(a, 100)
		}
		r.boot(webapp("shop", 2, 1, 2), webapp("web", 3, 3, 4))
		r.start("shop")
		r.start("web")
		r.wait(5 * time.Second)
		for _, target := range []string{"/cluster/shop/drain/10.0.0.1?who=ann", "/cluster/web/drain/10.0.0.3?who=ann"} {
			if status, body := r.request("POST", target); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
		if err := os.MkdirAll(filepath.Join(r.dir, "drain.web2.10.0.0.3.json", "y"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.reload(webapp("shop2", 2, 1, 2), webapp("web2", 3, 3, 4)); err == nil || !strings.Contains(err.Error(), "web2") {
			t.Fatalf("reload: %v; want an error about web2", err)
		}
		r.wait(5 * time.Second)
		r.wantTable("2 wlc 10.0.0.1=0 10.0.0.2=100\n3 wlc 10.0.0.3=0 10.0.0.4=100")
		if all := r.engine.Drains(t.Context()); len(all) != 2 || all[0].Stale || all[1].Stale {
			t.Errorf("drains %+v", all)
		}
	})
}

// A passive node counts as healthy: it can take over.
func TestTheActiveNodeCanBeDrainedIfAPassiveNodeIsHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.fleet.set("10.0.0.2", 100)
		c := activePassive(1, 2)
		c.MinHealthy = 1
		r.boot(c)
		r.start("web")
		if status, body := r.request("POST", "/drain/10.0.0.1"); status != 200 {
			t.Errorf("the active node, with a healthy passive one: %d %s", status, body)
		}
		r.wantTable("7 wlc 10.0.0.1=0 10.0.0.2=100")
		if status, body := r.request("POST", "/drain/10.0.0.2"); status != 409 {
			t.Errorf("the last healthy node: %d %s", status, body)
		}
	})
}

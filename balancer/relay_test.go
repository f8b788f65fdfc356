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

// withRelay is webapp with a relay.
func withRelay(name string, m uint32, nodes ...int) config.Cluster {
	c := webapp(name, m, nodes...)
	c.Relay = config.Relay{Enabled: true, Mark: m + 10000}
	return c
}

func TestTheRelayHasOnlyLocalNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 40)
		r.boot(withRelay("web", 7, 1, 2), webapp("db", 8, 1))
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=40\n10007 wlc 10.0.0.1=92 10.0.0.2=40")
		r.fleet.set("10.0.0.2", 0)
		r.wait(2*time.Second + minGap)
		r.wantTable("7 wlc 10.0.0.1=92 10.0.0.2=0\n10007 wlc 10.0.0.1=92 10.0.0.2=0")
		rules, err := r.marks.List(t.Context())
		const want = "[tcp 204.109.13.7:7 on eth10 → mark 7 tcp 204.109.13.7:7 on tunl0 → mark 10007 tcp 204.109.13.7:8 on eth10 → mark 8]"
		if got := fmt.Sprint(rules); err != nil || got != want {
			t.Errorf("marking rules %s, %v\nwant %s", got, err, want)
		}
		for path, found := range map[string]bool{"/fwmark/7": true, "/fwmark/10007": true, "/fwmark/8": true, "/fwmark/10008": false,
			"/fwmark/0": false} {
			if code, body := getAt(r.handler(), path, "10.1.0.5:9292"); (code == 200) != found {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		if changed, err := r.engine.Stop(t.Context(), "web", "test"); !changed || err != nil {
			t.Errorf("stop: %v, %v", changed, err)
		}
		r.wantTable("")
	})
}

func TestAReloadAddsAndRemovesTheRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		if err := r.reload(withRelay("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=92\n10007 wlc 10.0.0.1=92")
		if err := r.reload(webapp("web", 7, 1)); err != nil {
			t.Fatal(err)
		}
		r.wantTable("7 wlc 10.0.0.1=92")
		rules, _ := r.marks.List(t.Context())
		if len(rules) != 1 {
			t.Errorf("marking rules %v", rules)
		}
	})
}

// A crash between two operations may leave half of a relay: lb adds the missing service, and a stop removes what is left.
func TestAnIncompleteRelayIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.seed(7, "wlc", map[int]ipvs.Weight{1: 92})
		r.seed(10008, "wlc", map[int]ipvs.Weight{1: 92})
		r.boot(withRelay("web", 7, 1), withRelay("db", 8, 1))
		r.wantTable("7 wlc 10.0.0.1=92\n10007 wlc 10.0.0.1=92\n10008 wlc 10.0.0.1=92")
		if changed, err := r.engine.Stop(t.Context(), "db", "test"); !changed || err != nil {
			t.Errorf("stop: %v, %v", changed, err)
		}
		r.wantTable("7 wlc 10.0.0.1=92\n10007 wlc 10.0.0.1=92")
	})
}

func TestStatusIncludesRelayedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(withRelay("web", 7, 1))
		r.start("web")
		services, err := r.table.Dump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range services {
			services[i].Destinations[0].ActiveConns = 3 + i
			r.table.Seed(services[i])
		}
		r.wait(time.Second)
		c := r.engine.Status(t.Context()).Clusters[0]
		if n := c.Nodes[0]; len(c.Nodes) != 1 || n.ActiveConns != 7 || *n.KernelWeight != 92 || c.CombinedWeight != 92 {
			t.Errorf("status %+v", c)
		}
		if !strings.Contains(r.log.String(), "mark=10007") {
			t.Error("the log does not name the relay's mark")
		}
	})
}

package balancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// others are the balancers of other data centres in a test: what each lists, by its address; nil is silence.
type others struct {
	mu    sync.Mutex // protects lists
	lists map[netip.Addr][]watch.RemoteBalancer
}

func (o *others) poller(_ config.Cluster, s config.Site) watch.SitePoller { return &otherPoller{o, s} }

type otherPoller struct {
	others *others
	site   config.Site
}

func (p *otherPoller) Poll(context.Context) watch.SiteReading {
	p.others.mu.Lock()
	defer p.others.mu.Unlock()
	list := p.others.lists[p.site.At.Addr()]
	if list == nil {
		return watch.SiteReading{At: time.Now(), Detail: "connection refused"}
	}
	r := watch.SiteReading{At: time.Now(), Answered: true, Balancers: slices.Clone(list)}
	if len(list) == 0 {
		r.Detail = "/fwmark/7 lists no balancer: the cluster is not running there"
	}
	return r
}

func (p *otherPoller) Close() {}

// tells has the site 10.2.0.N list these from now on: "10.9.0.1=80 dc2". Nothing is an empty list, "silent" no answer.
func (o *others) tells(n int, members ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := []watch.RemoteBalancer{}
	for _, m := range members {
		if m == "silent" {
			list = nil
			break
		}
		name, location, _ := strings.Cut(m, " ")
		address, health, _ := strings.Cut(name, "=")
		h, err := strconv.Atoi(health)
		if err != nil {
			panic(err)
		}
		list = append(list, watch.RemoteBalancer{Address: addr(address), Health: h, Location: location})
	}
	o.lists[addr(fmt.Sprintf("10.2.0.%d", n))] = list
}

// sending is webapp that sends to the sites 10.2.0.N, too.
func sending(name string, m uint32, sites []int, nodes ...int) config.Cluster {
	c := relaying(name, m, nodes...)
	for _, s := range sites {
		c.Sites = append(c.Sites, config.Site{At: netip.AddrPortFrom(addr(fmt.Sprintf("10.2.0.%d", s)), 9292)})
	}
	return c
}

const tick = 2*time.Second + minGap // a look at a site, and what follows

// The steps and figures are those of compat/bigbro-interpol.txt.
func TestOtherDataCentresTakeTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.others.tells(1, "10.9.0.1=80 dc2", "10.9.0.2=60 dc3")
		c := sending("web", 7, []int{1}, 1)
		c.MaxDownTicks, c.RampUpTime, c.MaxWeight = 2, time.Minute, 100
		b.boot(c)
		const relay = "\n10007 wlc 10.0.0.1=100"
		b.start("web")
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60" + relay)
		status := b.engine.Status(t.Context()).Clusters[0]
		if n := status.Nodes[1]; status.CombinedWeight != 100 || n.Name() != "10.9.0.1 (dc2)" || n.State != "up" || !strings.Contains(n.Why, "combined weight 80") {
			t.Errorf("status %+v", status)
		}
		if _, body := askFor(b.handler(), "/fwmark/7", "10.1.0.5:9292"); !strings.Contains(body, `"health":100,`) {
			t.Errorf("what came from elsewhere is passed on: %s", body)
		}
		if _, body := askFor(b.handler(), "/cluster/web/status_detail", "10.1.0.5:9292"); body != `{"nodes":{"10.0.0.1":100},"cluster":"web","running":true}` {
			t.Errorf("status_detail %s", body)
		}

		b.others.tells(1, "10.9.0.1=330 dc2", "10.9.0.2=60 dc3") // more than max_weight: there are many nodes behind it
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=330 10.9.0.2=60" + relay)
		b.others.tells(1, "10.9.0.1=33 dc2")
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=0" + relay)
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=0" + relay)
		b.wait(2 * tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=33" + relay)
		b.others.tells(1, "10.9.0.1=33 dc2", "10.9.0.2=60 dc3")
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=60" + relay)
		b.others.tells(1)
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=0 10.9.0.2=0" + relay)
		b.wantLog("10.9.0.2 weight 60 → 0", "combined weight 33", "lists no balancer")
	})
}

// A silent site is no site without weight: the last weights hold for fall looks, as a node's do.
func TestASilentSiteHoldsAndThenLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.others.tells(1, "10.9.0.1=80")
		b.boot(sending("web", 7, []int{1}, 1))
		b.start("web")
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		services, err := b.table.Dump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		services[0].Destinations[1].ActiveConns = 3
		b.table.Seed(services[0])
		b.others.tells(1, "silent")
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=0\n10007 wlc 10.0.0.1=100") // its connections go on
		b.wait(30 * time.Second)
		if n := b.engine.Status(t.Context()).Clusters[0].Nodes[1]; n.State != "leaving" || !strings.Contains(n.Why, "10.2.0.1 left: no response for 2 polls (fall = 2)") {
			t.Errorf("status %+v", n)
		}
		b.wait(time.Minute) // drain_timeout
		b.want("7 wlc 10.0.0.1=100\n10007 wlc 10.0.0.1=100")
		b.wantLog("does not report its weights", "connection refused")
	})
}

// big_brother forgets remote nodes with a reload, and leaves one that vanished meanwhile at its old weight (fault 7).
func TestAReloadKeepsWhatOtherDataCentresList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.fleet.set("10.0.0.2", 100)
		b.others.tells(1, "10.9.0.1=80")
		b.others.tells(2, "10.9.0.2=60")
		b.boot(sending("web", 7, []int{1, 2}, 1))
		b.start("web")
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100")
		if err := b.reload(sending("web", 7, []int{1, 2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		if err := b.reload(sending("web", 7, []int{2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		b.wait(2 * tick)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100 10.9.0.2=60\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		b.others.tells(2)
		if err := b.reload(sending("web", 7, []int{2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		b.wait(2 * tick)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		b.others.tells(2, "10.9.0.2=60")
		b.wait(tick)
		if err := b.reload(relaying("web", 7, 1, 2)); err != nil {
			t.Fatal(err)
		}
		b.wait(2 * tick)
		b.want("7 wlc 10.0.0.1=100 10.0.0.2=100\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
	})
}

func TestARestartKeepsOtherDataCentresUntilTheyAreHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.others.tells(1, "10.9.0.1=80", "10.9.0.2=60")
		c := sending("web", 7, []int{1}, 1)
		b.boot(c)
		b.start("web")
		b.kill()
		b.others.tells(1, "silent")
		b.boot(c)
		const before = "7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100"
		b.want(before)
		b.others.tells(1, "10.9.0.1=70")
		b.wait(tick * 3 / 4) // the look, and not yet the cycle that removes what it does not list
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=70 10.9.0.2=0\n10007 wlc 10.0.0.1=100")
		b.wait(2 * tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=70\n10007 wlc 10.0.0.1=100")
	})
}

func TestWhatASiteMayNotList(t *testing.T) {
	for _, tt := range []struct{ name, member, words string }{
		{"a node", "10.0.0.1=9", "10.0.0.1 is a node of the cluster"},
		{"a virtual IP", "204.109.13.7=9", "is a virtual IP of the cluster"},
		{"this balancer", "10.1.0.5=9", "is this balancer"},
		{"this data centre", "10.9.0.1=9 dc1", "is in this data centre, dc1"},
		{"one that gets nothing", "10.9.0.1=9 dc3", "dc3 is one of non_egress_locations"},
		{"another IP version", "2001:db8::1=9 dc2", "has an IP version that no virtual IP of the cluster has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.fleet.set("10.0.0.1", 100)
				b.others.tells(1, tt.member, "10.9.0.7=70 dc2")
				c := sending("web", 7, []int{1}, 1)
				c.NonEgressLocations = []string{"dc3"}
				b.site = config.Balancer{Location: "dc1", RelayAddress: addr("10.1.0.5")}
				b.boot(c)
				b.start("web")
				b.want("7 wlc 10.0.0.1=100 10.9.0.7=70\n10007 wlc 10.0.0.1=100")
				b.wantLog(tt.words)
			})
		})
	}
}

// Two sites that list the same balancers, as two servers of one answer, are one site that fails twice as rarely.
func TestOneOfTwoSitesIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.others.tells(1, "10.9.0.1=80")
		b.others.tells(2, "10.9.0.1=80")
		b.boot(sending("web", 7, []int{1, 2}, 1))
		b.start("web")
		b.others.tells(1, "silent")
		for range 20 {
			b.wait(500 * time.Millisecond)
			b.want("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		}
		b.others.tells(2, "10.9.0.1=70")
		b.wait(tick)
		b.want("7 wlc 10.0.0.1=100 10.9.0.1=70\n10007 wlc 10.0.0.1=100")
	})
}

// Beyond the nodes, the kernel's table may have more than other data centres' balancers, which have weight and are reached by a tunnel: nodes on
// their way out, and the server of last resort.
func TestARestartTakesNothingElseForAnotherDataCentre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		s := ipvs.Service{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc"}
		for _, d := range []ipvs.Destination{
			{Address: addr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 100}, {Address: addr("10.0.0.7"), Forwarding: ipvs.Route, Weight: 60},
			{Address: addr("10.0.0.8"), Forwarding: ipvs.Tunnel, Weight: 60}, {Address: addr("10.0.0.9"), Forwarding: ipvs.Tunnel},
			{Address: addr("169.254.254.254"), Forwarding: ipvs.Tunnel, Weight: 1},
		} {
			d.ActiveConns = 1
			s.Destinations = append(s.Destinations, d)
		}
		b.table.Seed(s)
		c := sending("web", 7, []int{5}, 1)
		c.MaxDownTicks, c.AllDown, c.Downpage.Address = 3, config.ToPage, addr("169.254.254.254")
		b.boot(c)
		var states []string
		for _, n := range b.status("web").Nodes {
			states = append(states, n.Address+" "+n.State)
		}
		slices.Sort(states)
		if got, want := strings.Join(states, ", "), "10.0.0.1 up, 10.0.0.7 leaving, 10.0.0.8 unknown, 10.0.0.9 leaving"; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	})
}

// max_down_ticks counts looks in a row.
func TestABalancerThatIsListedAgainHasAllItsTicksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 100)
		b.others.tells(1, "10.9.0.1=80 dc2")
		c := sending("web", 7, []int{1}, 1)
		c.MaxDownTicks = 2
		b.boot(c)
		listed := func() bool { return len(b.status("web").Nodes) == 2 }
		b.others.tells(1)
		b.wait(2 * tick)
		b.others.tells(1, "10.9.0.1=80 dc2")
		b.wait(tick)
		b.others.tells(1)
		b.wait(2 * tick)
		if !listed() {
			t.Error("it left within its ticks")
		}
		b.wait(tick)
		if listed() {
			t.Error("it is still there behind its ticks")
		}
	})
}

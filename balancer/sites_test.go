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

// remoteSites are balancers of other data centres: what each lists, by its address; nil refuses the connection.
type remoteSites struct {
	mu    sync.Mutex // protects lists
	lists map[netip.Addr][]watch.RemoteBalancer
}

func (s *remoteSites) poller(_ config.Cluster, site config.Site) watch.SitePoller {
	return &fakeSitePoller{s, site}
}

type fakeSitePoller struct {
	sites *remoteSites
	site  config.Site
}

func (p *fakeSitePoller) Poll(context.Context) watch.SiteReading {
	p.sites.mu.Lock()
	defer p.sites.mu.Unlock()
	list := p.sites.lists[p.site.At.Addr()]
	if list == nil {
		return watch.SiteReading{At: time.Now(), Detail: "connection refused"}
	}
	r := watch.SiteReading{At: time.Now(), Answered: true, Balancers: slices.Clone(list)}
	if len(list) == 0 {
		r.Detail = "/fwmark/7 lists no balancer: the cluster is not running there"
	}
	return r
}

func (p *fakeSitePoller) Close() {}

// set sets the list of the site 10.2.0.N: entries such as "10.9.0.1=80 dc2", an address with its weight and location.
func (s *remoteSites) set(n int, entries ...string) {
	list := []watch.RemoteBalancer{}
	for _, e := range entries {
		name, location, _ := strings.Cut(e, " ")
		address, health, _ := strings.Cut(name, "=")
		h, err := strconv.Atoi(health)
		if err != nil {
			panic(err)
		}
		list = append(list, watch.RemoteBalancer{Address: addr(address), Health: h, Location: location})
	}
	s.setList(n, list)
}

// setUnreachable makes the site 10.2.0.N refuse connections.
func (s *remoteSites) setUnreachable(n int) { s.setList(n, nil) }

func (s *remoteSites) setList(n int, list []watch.RemoteBalancer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[addr(fmt.Sprintf("10.2.0.%d", n))] = list
}

// sending is webapp that sends to the sites 10.2.0.N, too.
func withSites(name string, m uint32, sites []int, nodes ...int) config.Cluster {
	c := withRelay(name, m, nodes...)
	for _, s := range sites {
		c.Sites = append(c.Sites, config.Site{At: netip.AddrPortFrom(addr(fmt.Sprintf("10.2.0.%d", s)), 9292)})
	}
	return c
}

const tick = 2*time.Second + minGap // a look at a site, and what follows

// The steps and figures are those of compat/bigbro-interpol.txt.
func TestRemoteBalancersGetTheirWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.sites.set(1, "10.9.0.1=80 dc2", "10.9.0.2=60 dc3")
		c := withSites("web", 7, []int{1}, 1)
		c.MaxDownTicks, c.RampUpTime, c.MaxWeight = 2, time.Minute, 100
		r.boot(c)
		const relay = "\n10007 wlc 10.0.0.1=100"
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60" + relay)
		status := r.engine.Status(t.Context()).Clusters[0]
		if n := status.Nodes[1]; status.CombinedWeight != 100 || n.Name() != "10.9.0.1 (dc2)" || n.State != "up" || !strings.Contains(n.Why, "combined weight 80") {
			t.Errorf("status %+v", status)
		}
		if _, body := getAt(r.handler(), "/fwmark/7", "10.1.0.5:9292"); !strings.Contains(body, `"health":100,`) {
			t.Errorf("what came from elsewhere is passed on: %s", body)
		}
		if _, body := getAt(r.handler(), "/cluster/web/status_detail", "10.1.0.5:9292"); body != `{"nodes":{"10.0.0.1":100},"cluster":"web","running":true}` {
			t.Errorf("status_detail %s", body)
		}

		r.sites.set(1, "10.9.0.1=330 dc2", "10.9.0.2=60 dc3") // more than max_weight: there are many nodes behind it
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=330 10.9.0.2=60" + relay)
		r.sites.set(1, "10.9.0.1=33 dc2")
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=0" + relay)
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=0" + relay)
		r.wait(2 * tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33" + relay)
		r.sites.set(1, "10.9.0.1=33 dc2", "10.9.0.2=60 dc3")
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=60" + relay)
		r.sites.set(1)
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=0 10.9.0.2=0" + relay)
		r.wantLog("10.9.0.2 weight 60 → 0", "combined weight 33", "lists no balancer")
	})
}

// A connRefused site is no site without weight: the last weights hold for fall looks, as a node's do.
func TestASiteThatStopsRespondingHoldsItsWeightsAndThenLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.sites.set(1, "10.9.0.1=80")
		r.boot(withSites("web", 7, []int{1}, 1))
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		services, err := r.table.Dump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		services[0].Destinations[1].ActiveConns = 3
		r.table.Seed(services[0])
		r.sites.setUnreachable(1)
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=0\n10007 wlc 10.0.0.1=100") // its connections go on
		r.wait(30 * time.Second)
		if n := r.engine.Status(t.Context()).Clusters[0].Nodes[1]; n.State != "leaving" || !strings.Contains(n.Why, "10.2.0.1 left: no response for 2 polls (fall = 2)") {
			t.Errorf("status %+v", n)
		}
		r.wait(time.Minute) // drain_timeout
		r.wantTable("7 wlc 10.0.0.1=100\n10007 wlc 10.0.0.1=100")
		r.wantLog("does not report its weights", "connection refused")
	})
}

// big_brother forgets remote nodes with a reload, and leaves one that vanished meanwhile at its old weight (fault 7).
func TestAReloadKeepsRemoteBalancers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.fleet.set("10.0.0.2", 100)
		r.sites.set(1, "10.9.0.1=80")
		r.sites.set(2, "10.9.0.2=60")
		r.boot(withSites("web", 7, []int{1, 2}, 1))
		r.start("web")
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100")
		if err := r.reload(withSites("web", 7, []int{1, 2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		if err := r.reload(withSites("web", 7, []int{2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100 10.9.0.2=60\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		r.sites.set(2)
		if err := r.reload(withSites("web", 7, []int{2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		r.sites.set(2, "10.9.0.2=60")
		r.wait(tick)
		if err := r.reload(withRelay("web", 7, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
	})
}

func TestARestartKeepsRemoteBalancersUntilTheirSiteResponds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.sites.set(1, "10.9.0.1=80", "10.9.0.2=60")
		c := withSites("web", 7, []int{1}, 1)
		r.boot(c)
		r.start("web")
		r.kill()
		r.sites.setUnreachable(1)
		r.boot(c)
		const before = "7 wlc 10.0.0.1=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100"
		r.wantTable(before)
		r.sites.set(1, "10.9.0.1=70")
		r.wait(tick * 3 / 4) // the look, and not yet the cycle that removes what it does not list
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=70 10.9.0.2=0\n10007 wlc 10.0.0.1=100")
		r.wait(2 * tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=70\n10007 wlc 10.0.0.1=100")
	})
}

func TestEntriesThatASiteMayNotList(t *testing.T) {
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
				r := newRig(t)
				r.fleet.set("10.0.0.1", 100)
				r.sites.set(1, tt.member, "10.9.0.7=70 dc2")
				c := withSites("web", 7, []int{1}, 1)
				c.NonEgressLocations = []string{"dc3"}
				r.balancer = config.Balancer{Location: "dc1", RelayAddress: addr("10.1.0.5")}
				r.boot(c)
				r.start("web")
				r.wantTable("7 wlc 10.0.0.1=100 10.9.0.7=70\n10007 wlc 10.0.0.1=100")
				r.wantLog(tt.words)
			})
		})
	}
}

// Two sites that list the same balancers, as two servers of one answer, are one site that fails twice as rarely.
func TestOneOfTwoSitesIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.sites.set(1, "10.9.0.1=80")
		r.sites.set(2, "10.9.0.1=80")
		r.boot(withSites("web", 7, []int{1, 2}, 1))
		r.start("web")
		r.sites.setUnreachable(1)
		for range 20 {
			r.wait(500 * time.Millisecond)
			r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		}
		r.sites.set(2, "10.9.0.1=70")
		r.wait(tick)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=70\n10007 wlc 10.0.0.1=100")
	})
}

// Beyond the nodes, the kernel's table may have more than other data centres' balancers, which have weight and are reached by a tunnel: nodes on
// their way out, and the server of last resort.
func TestARestartAdoptsNothingElseAsARemoteBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		s := ipvs.Service{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc"}
		for _, d := range []ipvs.Destination{
			{Address: addr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 100}, {Address: addr("10.0.0.7"), Forwarding: ipvs.Route, Weight: 60},
			{Address: addr("10.0.0.8"), Forwarding: ipvs.Tunnel, Weight: 60}, {Address: addr("10.0.0.9"), Forwarding: ipvs.Tunnel},
			{Address: addr("169.254.254.254"), Forwarding: ipvs.Tunnel, Weight: 1},
		} {
			d.ActiveConns = 1
			s.Destinations = append(s.Destinations, d)
		}
		r.table.Seed(s)
		c := withSites("web", 7, []int{5}, 1)
		c.MaxDownTicks, c.AllDown, c.Downpage.Address = 3, config.ToPage, addr("169.254.254.254")
		r.boot(c)
		var states []string
		for _, n := range r.status("web").Nodes {
			states = append(states, n.Address+" "+n.State)
		}
		slices.Sort(states)
		if got, want := strings.Join(states, ", "), "10.0.0.1 up, 10.0.0.7 leaving, 10.0.0.8 unknown, 10.0.0.9 leaving"; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	})
}

// max_down_ticks counts looks in a row.
func TestMaxDownTicksCountsConsecutivePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		r.sites.set(1, "10.9.0.1=80 dc2")
		c := withSites("web", 7, []int{1}, 1)
		c.MaxDownTicks = 2
		r.boot(c)
		listed := func() bool { return len(r.status("web").Nodes) == 2 }
		r.sites.set(1)
		r.wait(2 * tick)
		r.sites.set(1, "10.9.0.1=80 dc2")
		r.wait(tick)
		r.sites.set(1)
		r.wait(2 * tick)
		if !listed() {
			t.Error("it left within its ticks")
		}
		r.wait(tick)
		if listed() {
			t.Error("it is still there behind its ticks")
		}
	})
}

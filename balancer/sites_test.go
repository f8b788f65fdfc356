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

// withSites is a cluster with a relay that also sends to the sites 10.2.0.N.
func withSites(name string, m uint32, sites []int, nodes ...int) config.Cluster {
	c := withRelay(name, m, nodes...)
	for _, s := range sites {
		c.Sites = append(c.Sites, config.Site{At: netip.AddrPortFrom(addr(fmt.Sprintf("10.2.0.%d", s)), 9292)})
	}
	return c
}

const sitePoll = 2*time.Second + minGap // a poll of a site and the reconcile after it

// The steps and weights are those of compat/bigbro-interpol.txt.
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
		if n := status.Nodes[1]; status.CombinedWeight != 100 || n.Name() != "10.9.0.1 (dc2)" || n.State != "up" ||
			!strings.Contains(n.Why, "combined weight 80") {
			t.Errorf("status %+v", status)
		}
		if _, body := getAt(r.handler(), "/fwmark/7", "10.1.0.5:9292"); !strings.Contains(body, `"health":100,`) {
			t.Errorf("/fwmark includes the weight of remote balancers: %s", body)
		}
		const detail = `{"nodes":{"10.0.0.1":100},"cluster":"web","running":true}`
		if _, body := getAt(r.handler(), "/cluster/web/status_detail", "10.1.0.5:9292"); body != detail {
			t.Errorf("status_detail %s", body)
		}

		r.sites.set(1, "10.9.0.1=330 dc2", "10.9.0.2=60 dc3") // max_weight caps nodes, not remote balancers
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=330 10.9.0.2=60" + relay)
		r.sites.set(1, "10.9.0.1=33 dc2")
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=0" + relay)
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=0" + relay)
		r.wait(2 * sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33" + relay)
		r.sites.set(1, "10.9.0.1=33 dc2", "10.9.0.2=60 dc3")
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=33 10.9.0.2=60" + relay)
		r.sites.set(1)
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=0 10.9.0.2=0" + relay)
		r.wantLog("10.9.0.2 weight 60 → 0", "combined weight 33", "lists no balancer")
	})
}

// A site that does not respond differs from one without weight: the last weights hold for fall polls, as for a node.
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
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=80\n10007 wlc 10.0.0.1=100")
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=0\n10007 wlc 10.0.0.1=100") // its connections continue
		r.wait(30 * time.Second)
		if n := r.engine.Status(t.Context()).Clusters[0].Nodes[1]; n.State != "leaving" ||
			!strings.Contains(n.Why, "10.2.0.1 left: no response for 2 polls (fall = 2)") {
			t.Errorf("status %+v", n)
		}
		r.wait(time.Minute) // drain_timeout
		r.wantTable("7 wlc 10.0.0.1=100\n10007 wlc 10.0.0.1=100")
		r.wantLog("does not report its weights", "connection refused")
	})
}

// big_brother forgets remote nodes at a reload. One that disappears meanwhile keeps its old weight (fault 7).
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
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100 10.9.0.1=80 10.9.0.2=60\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		if err := r.reload(withSites("web", 7, []int{2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100 10.9.0.2=60\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		r.sites.set(2)
		if err := r.reload(withSites("web", 7, []int{2}, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.0.0.2=100\n10007 wlc 10.0.0.1=100 10.0.0.2=100")
		r.sites.set(2, "10.9.0.2=60")
		r.wait(sitePoll)
		if err := r.reload(withRelay("web", 7, 1, 2)); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * sitePoll)
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
		r.wait(sitePoll * 3 / 4) // after the poll, but before the reconcile that removes unlisted balancers
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=70 10.9.0.2=0\n10007 wlc 10.0.0.1=100")
		r.wait(2 * sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=70\n10007 wlc 10.0.0.1=100")
	})
}

func TestEntriesThatASiteMayNotList(t *testing.T) {
	for _, tt := range []struct{ name, entry, want string }{
		{"a node", "10.0.0.1=9", "10.0.0.1 is a node of the cluster"},
		{"a virtual IP", "204.109.13.7=9", "is a virtual IP of the cluster"},
		{"this balancer", "10.1.0.5=9", "is this balancer"},
		{"this data centre", "10.9.0.1=9 dc1", "is in this data centre, dc1"},
		{"an excluded location", "10.9.0.1=9 dc3", "dc3 is one of non_egress_locations"},
		{"another IP version", "2001:db8::1=9 dc2", "has an IP version that no virtual IP of the cluster has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.fleet.set("10.0.0.1", 100)
				r.sites.set(1, tt.entry, "10.9.0.7=70 dc2")
				c := withSites("web", 7, []int{1}, 1)
				c.NonEgressLocations = []string{"dc3"}
				r.balancer = config.Balancer{Location: "dc1", RelayAddress: addr("10.1.0.5")}
				r.boot(c)
				r.start("web")
				r.wantTable("7 wlc 10.0.0.1=100 10.9.0.7=70\n10007 wlc 10.0.0.1=100")
				r.wantLog(tt.want)
			})
		})
	}
}

// Two sites may list the same balancers: their weights hold while one of the sites responds.
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
		r.wait(sitePoll)
		r.wantTable("7 wlc 10.0.0.1=100 10.9.0.1=70\n10007 wlc 10.0.0.1=100")
	})
}

// At a restart, lb adopts destinations that no config has as remote balancers only if they have weight and a tunnel. Others are nodes that
// are leaving, or the downpage.
func TestARestartAdoptsNothingElseAsARemoteBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 100)
		s := ipvs.Service{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc"}
		for _, d := range []ipvs.Destination{
			{Address: addr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 100},
			{Address: addr("10.0.0.7"), Forwarding: ipvs.Route, Weight: 60},
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

// max_down_ticks counts consecutive polls that do not list a balancer.
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
		r.wait(2 * sitePoll)
		r.sites.set(1, "10.9.0.1=80 dc2")
		r.wait(sitePoll)
		r.sites.set(1)
		r.wait(2 * sitePoll)
		if !listed() {
			t.Error("the balancer was removed before max_down_ticks")
		}
		r.wait(sitePoll)
		if listed() {
			t.Error("the balancer was not removed after max_down_ticks")
		}
	})
}

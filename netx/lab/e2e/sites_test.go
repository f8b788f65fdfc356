//go:build lab

package e2e

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// twoSites builds two data centres with two apps each and starts their balancers.
func twoSites(t *testing.T) [2]*testbed.Site {
	t.Helper()
	o := testbed.Options{Binary: binary(t), Nodes: 2, Scheduler: "wrr", CheckInterval: interval, Logs: t.Output()}
	sites, err := testbed.NewSites(t.Context(), slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range []*testbed.Site{sites[1], sites[0]} {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, s := range sites {
		if err := s.Balancer.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return sites
}

// marked returns the weight of each node of a mark, as ipvsadm sees them.
func marked(t *testing.T, s *testbed.Site, mark int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, m := range destination.FindAllStringSubmatch(labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn"), -1) {
		if m[1] == strconv.Itoa(mark) {
			got[m[2]], _ = strconv.Atoi(m[3]) // \d+ is a number
		}
	}
	return got
}

// wantMarked waits until a mark has these weights, but for nodes at 0, which may be on their way out.
func wantMarked(t *testing.T, s *testbed.Site, mark int, want map[string]int) {
	t.Helper()
	labtest.Eventually(t, patience, fmt.Sprintf("mark %d on %s has %v", mark, s.BalancerHost.Name(), want), func() (bool, string) {
		got := marked(t, s, mark)
		seen := fmt.Sprint(got)
		maps.DeleteFunc(got, func(_ string, weight int) bool { return weight == 0 })
		return maps.Equal(got, want), seen
	})
}

// askBy sends requests to the VIP by way of a data centre and returns how many each data centre answered. Each must be answered, by one app.
func askBy(t *testing.T, sites [2]*testbed.Site, from, requests int) (answered [2]int) {
	t.Helper()
	before := served(sites)
	counts := sites[from].SendRequests(t.Context(), requests, 4)
	if counts.Failed != 0 || counts.Answered != requests {
		t.Errorf("from dc%d: answered %d, failed %d: %v", from+1, counts.Answered, counts.Failed, counts.LastError)
	}
	for i, s := range sites {
		for _, app := range s.Apps {
			answered[i] += counts.ByNode[app.Host.Name()]
		}
	}
	if got := served(sites) - before; got != int64(requests) {
		t.Errorf("the apps have seen %d requests of %d", got, requests)
	}
	return answered
}

// shared tells whether both data centres answered about as many: a check that is late in the slow guest may move a weight for a moment.
func shared(answered [2]int) bool {
	all := answered[0] + answered[1]
	return 2*answered[0] >= all*4/5 && 2*answered[1] >= all*4/5
}

func served(sites [2]*testbed.Site) (n int64) {
	for _, s := range sites {
		for _, app := range s.Apps {
			n += app.Served()
		}
	}
	return n
}

// TestTwoDataCentresShareTheLoadAndHelpEachOther is docs/sites.md in real packets.
func TestTwoDataCentresShareTheLoadAndHelpEachOther(t *testing.T) {
	sites := twoSites(t)
	local := [2]map[string]int{{"10.0.1.1": 100, "10.0.1.2": 100}, {"10.0.2.1": 100, "10.0.2.2": 100}}
	peer := [2]string{"10.9.0.2", "10.9.0.1"}
	both := func(i int) map[string]int {
		all := maps.Clone(local[i])
		all[peer[i]] = 200
		return all
	}
	for i, s := range sites {
		wantMarked(t, s, 7, both(i))
		wantMarked(t, s, 10007, local[i])
		tunnelled(t, s)
	}

	t.Run("requests are answered by weight, and none goes round", func(t *testing.T) {
		if got := askBy(t, sites, 0, 80); !shared(got) {
			t.Errorf("answered by %v, want half by each", got)
		}
		if sent, back := counted(t, sites[0].BalancerHost, "sent"), counted(t, sites[1].BalancerHost, "sent"); sent == 0 || back != 0 {
			t.Errorf("dc1 sent dc2 %d packets, which sent back %d; want some, and none", sent, back)
		}
		if got := askBy(t, sites, 1, 80); !shared(got) {
			t.Errorf("answered by %v, want half by each", got)
		}
	})

	t.Run("one data centre's apps die and come back", func(t *testing.T) {
		for _, app := range sites[0].Apps {
			app.SetHeartbeat(http.StatusInternalServerError)
		}
		wantMarked(t, sites[0], 7, map[string]int{peer[0]: 200})
		wantMarked(t, sites[1], 7, local[1])
		before := counted(t, sites[1].BalancerHost, "sent")
		for from := range sites {
			if got := askBy(t, sites, from, 40); got != [2]int{0, 40} {
				t.Errorf("from dc%d: answered by %v, want all by dc2", from+1, got)
			}
		}
		if back := counted(t, sites[1].BalancerHost, "sent") - before; back != 0 {
			t.Errorf("dc2 sent %d packets to dc1, which has nobody", back)
		}
		for _, app := range sites[0].Apps {
			app.SetHeartbeat(http.StatusOK)
		}
		for i, s := range sites {
			wantMarked(t, s, 7, both(i))
		}
		if got := askBy(t, sites, 0, 80); !shared(got) {
			t.Errorf("answered by %v, want half by each again", got)
		}
	})

	t.Run("the link between them dies", func(t *testing.T) {
		if err := sites[1].BalancerHost.LinkDown(testbed.InterSiteInterface); err != nil {
			t.Fatal(err)
		}
		for i, s := range sites {
			wantMarked(t, s, 7, local[i])
			want := [2]int{}
			want[i] = 40
			if got := askBy(t, sites, i, 40); got != want {
				t.Errorf("from dc%d: answered by %v, want all by itself", i+1, got)
			}
		}
		if err := sites[1].BalancerHost.LinkUp(testbed.InterSiteInterface); err != nil {
			t.Fatal(err)
		}
		for i, s := range sites {
			wantMarked(t, s, 7, both(i))
		}
		askBy(t, sites, 0, 40)
	})
	t.Log("\n" + lb(t, sites[0], sites[0].BalancerHost, "ctl", "cluster", "status", "webapp"))
	t.Log("\n" + lb(t, sites[0], sites[0].BalancerHost, "ctl", "why", "webapp", peer[0]))
}

// tunnelled has nftables count what the balancer sends to the other data centre's.
func tunnelled(t *testing.T, s *testbed.Site) {
	t.Helper()
	const rules = `table inet probe {
	counter sent {}
	chain out {
		type filter hook output priority 300
		oifname "eth1" ip protocol 4 counter name sent
	}
}`
	if err := s.BalancerHost.WriteFile("/run/probe.nft", []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, s.BalancerHost, "nft", "-f", "/run/probe.nft")
}

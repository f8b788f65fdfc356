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

// twoSites builds two data centres with two app nodes each and starts their balancers.
func twoSites(t *testing.T) [2]*testbed.Site {
	t.Helper()
	o := testbed.Options{Binary: binary(t), Nodes: 2, Scheduler: "wrr", CheckInterval: checkInterval, Logs: t.Output()}
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

// markWeights returns the weight of each node of a mark, read with ipvsadm.
func markWeights(t *testing.T, s *testbed.Site, mark int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, m := range destinationLine.FindAllStringSubmatch(labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn"), -1) {
		if m[1] == strconv.Itoa(mark) {
			got[m[2]], _ = strconv.Atoi(m[3]) // \d+ is a number
		}
	}
	return got
}

// waitForMarkWeights waits until a mark has these weights. It ignores nodes at weight 0, which may be draining.
func waitForMarkWeights(t *testing.T, s *testbed.Site, mark int, want map[string]int) {
	t.Helper()
	labtest.Eventually(t, timeout, fmt.Sprintf("mark %d on %s has %v", mark, s.BalancerHost.Name(), want), func() (bool, string) {
		got := markWeights(t, s, mark)
		seen := fmt.Sprint(got)
		maps.DeleteFunc(got, func(_ string, weight int) bool { return weight == 0 })
		return maps.Equal(got, want), seen
	})
}

// requestFrom sends requests from a data centre's client and returns how many each data centre answered. Each request must reach exactly
// one app.
func requestFrom(t *testing.T, sites [2]*testbed.Site, from, requests int) (answered [2]int) {
	t.Helper()
	before := totalServed(sites)
	counts := sites[from].SendRequests(t.Context(), requests, 4)
	if counts.Failed != 0 || counts.Answered != requests {
		t.Errorf("from dc%d: answered %d, failed %d: %v", from+1, counts.Answered, counts.Failed, counts.LastError)
	}
	for i, s := range sites {
		for _, app := range s.Apps {
			answered[i] += counts.ByNode[app.Host.Name()]
		}
	}
	if got := totalServed(sites) - before; got != int64(requests) {
		t.Errorf("the apps answered %d requests, want %d", got, requests)
	}
	return answered
}

// roughlyEqual reports whether both data centres answered about the same number: in the slow guest, a late check may change a weight
// briefly.
func roughlyEqual(answered [2]int) bool {
	all := answered[0] + answered[1]
	return 2*answered[0] >= all*4/5 && 2*answered[1] >= all*4/5
}

func totalServed(sites [2]*testbed.Site) (n int64) {
	for _, s := range sites {
		for _, app := range s.Apps {
			n += app.Served()
		}
	}
	return n
}

// TestTwoDataCentresShareTrafficAndFailOver checks docs/sites.md with real packets.
func TestTwoDataCentresShareTrafficAndFailOver(t *testing.T) {
	sites := twoSites(t)
	local := [2]map[string]int{{"10.0.1.1": 100, "10.0.1.2": 100}, {"10.0.2.1": 100, "10.0.2.2": 100}}
	peer := [2]string{"10.9.0.2", "10.9.0.1"}
	both := func(i int) map[string]int {
		all := maps.Clone(local[i])
		all[peer[i]] = 200
		return all
	}
	for i, s := range sites {
		waitForMarkWeights(t, s, 7, both(i))
		waitForMarkWeights(t, s, 10007, local[i])
		countTunnelled(t, s)
	}

	t.Run("requests follow weights and none loops back", func(t *testing.T) {
		if got := requestFrom(t, sites, 0, 80); !roughlyEqual(got) {
			t.Errorf("answered per data centre: %v, want about half each", got)
		}
		sent, back := packetCount(t, sites[0].BalancerHost, "sent"), packetCount(t, sites[1].BalancerHost, "sent")
		if sent == 0 || back != 0 {
			t.Errorf("packets dc1 → dc2: %d, dc2 → dc1: %d; want some and none", sent, back)
		}
		if got := requestFrom(t, sites, 1, 80); !roughlyEqual(got) {
			t.Errorf("answered per data centre: %v, want about half each", got)
		}
	})

	t.Run("all apps of one data centre fail and recover", func(t *testing.T) {
		for _, app := range sites[0].Apps {
			app.SetHeartbeat(http.StatusInternalServerError)
		}
		waitForMarkWeights(t, sites[0], 7, map[string]int{peer[0]: 200})
		waitForMarkWeights(t, sites[1], 7, local[1])
		before := packetCount(t, sites[1].BalancerHost, "sent")
		for from := range sites {
			if got := requestFrom(t, sites, from, 40); got != [2]int{0, 40} {
				t.Errorf("from dc%d: answered per data centre: %v, want all by dc2", from+1, got)
			}
		}
		if back := packetCount(t, sites[1].BalancerHost, "sent") - before; back != 0 {
			t.Errorf("dc2 sent %d packets to dc1, which has no healthy node", back)
		}
		for _, app := range sites[0].Apps {
			app.SetHeartbeat(http.StatusOK)
		}
		for i, s := range sites {
			waitForMarkWeights(t, s, 7, both(i))
		}
		if got := requestFrom(t, sites, 0, 80); !roughlyEqual(got) {
			t.Errorf("answered per data centre: %v, want about half each again", got)
		}
	})

	t.Run("the link between them fails", func(t *testing.T) {
		if err := sites[1].BalancerHost.LinkDown(testbed.InterSiteInterface); err != nil {
			t.Fatal(err)
		}
		for i, s := range sites {
			waitForMarkWeights(t, s, 7, local[i])
			want := [2]int{}
			want[i] = 40
			if got := requestFrom(t, sites, i, 40); got != want {
				t.Errorf("from dc%d: answered per data centre: %v, want all by itself", i+1, got)
			}
		}
		if err := sites[1].BalancerHost.LinkUp(testbed.InterSiteInterface); err != nil {
			t.Fatal(err)
		}
		for i, s := range sites {
			waitForMarkWeights(t, s, 7, both(i))
		}
		requestFrom(t, sites, 0, 40)
	})
	t.Log("\n" + runLB(t, sites[0], sites[0].BalancerHost, "ctl", "cluster", "status", "webapp"))
	t.Log("\n" + runLB(t, sites[0], sites[0].BalancerHost, "ctl", "why", "webapp", peer[0]))
}

// countTunnelled counts packets that the balancer sends to the other data centre's, with nftables.
func countTunnelled(t *testing.T, s *testbed.Site) {
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

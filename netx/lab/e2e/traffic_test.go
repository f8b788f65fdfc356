//go:build lab

package e2e

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

func TestRequestsReachTheAppsAndComeBackDirectly(t *testing.T) {
	s := stage(t, func(o *testbed.Options) { o.Scheduler = "wlc" })
	settled(t, s, 100)
	count(t, s.BalancerHost)
	for _, app := range s.Apps {
		count(t, app.Host)
	}
	counts := s.SendRequests(t.Context(), 60, 4)
	if counts.Failed != 0 || counts.Answered != 60 {
		t.Fatalf("answered %d, failed %d: %v", counts.Answered, counts.Failed, counts.LastError)
	}
	for _, app := range s.Apps {
		if counts.ByNode[app.Host.Name()] == 0 {
			t.Errorf("%s answered nothing: %v", app.Host.Name(), counts.ByNode)
		}
		if n := counted(t, app.Host, "answers"); n == 0 {
			t.Errorf("no answer from the VIP left %s", app.Host.Name())
		}
	}
	if n := counted(t, s.BalancerHost, "requests"); n == 0 {
		t.Error("no request came to the balancer")
	}
	if n := counted(t, s.BalancerHost, "answers"); n != 0 {
		t.Errorf("%d answers went through the balancer; they must go directly", n)
	}
	saved := labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn")
	for _, want := range []string{"-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 100", "-a -f 7 -r 10.0.0.2:0 -i -w 100", "-a -f 7 -r 10.0.0.3:0 -i -w 100"} {
		if !strings.Contains(saved, want) {
			t.Errorf("ipvsadm -Sn lacks %q:\n%s", want, saved)
		}
	}
	if rules := labtest.Run(t, s.BalancerHost, "nft", "list", "table", "inet", "lb"); !strings.Contains(rules, "204.109.13.7 . tcp . 443 : 0x00000007") {
		t.Errorf("nft does not show mark 7 for the VIP:\n%s", rules)
	}
}

// count has nftables count requests to the VIP and answers from it, in a table of its own.
func count(t *testing.T, h *lab.Host) {
	t.Helper()
	rules := fmt.Sprintf(`table inet probe {
	counter requests {}
	counter answers {}
	chain in {
		type filter hook prerouting priority -300
		ip daddr %[1]s tcp dport 443 counter name requests
		ip saddr %[1]s tcp sport 443 counter name answers
	}
	chain out {
		type filter hook output priority 300
		ip saddr %[1]s tcp sport 443 counter name answers
	}
}`, testbed.VIP)
	if err := h.WriteFile("/run/probe.nft", []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, h, "nft", "-f", "/run/probe.nft")
}

// counted returns how many packets a counter of count has seen.
func counted(t *testing.T, h *lab.Host, counter string) int {
	t.Helper()
	out := labtest.Run(t, h, "nft", "list", "counter", "inet", "probe", counter)
	_, after, _ := strings.Cut(out, "packets ")
	number, _, _ := strings.Cut(after, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("counter %s on %s: %v in %q", counter, h.Name(), err, out)
	}
	return n
}

func TestSharesFollowWeightsUnderWRR(t *testing.T) {
	s := stage(t, nil)
	want := map[string]int{}
	for n, health := range []int{45, 30, 75} {
		want[s.Apps[n].Address.String()] = health
		if err := s.Apps[n].SetHealth(health); err != nil {
			t.Fatal(err)
		}
	}
	labtest.Eventually(t, patience, "weights 45, 30, 75", func() (bool, string) {
		got := fmt.Sprint(weights(t, s))
		return got == fmt.Sprint(want), got
	})
	const connections = 2000
	counts := s.SendRequests(t.Context(), connections, 8)
	if counts.Failed != 0 || counts.Answered != connections {
		t.Fatalf("answered %d, failed %d: %v", counts.Answered, counts.Failed, counts.LastError)
	}
	for _, app := range s.Apps {
		share := 100 * float64(counts.ByNode[app.Host.Name()]) / connections
		wanted := 100 * float64(want[app.Address.String()]) / 150
		t.Logf("%s: %.1f %% of the connections for %.1f %% of the weight", app.Host.Name(), share, wanted)
		if math.Abs(share-wanted) > 2 {
			t.Errorf("%s: %.1f %% of the connections, but %.1f %% of the weight", app.Host.Name(), share, wanted)
		}
	}
}

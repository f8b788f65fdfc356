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

func TestResponsesBypassTheBalancer(t *testing.T) {
	s := newSite(t, func(o *testbed.Options) { o.Scheduler = "wlc" })
	waitForWeight(t, s, 100)
	installCounters(t, s.BalancerHost)
	for _, app := range s.Apps {
		installCounters(t, app.Host)
	}
	counts := s.SendRequests(t.Context(), 60, 4)
	if counts.Failed != 0 || counts.Answered != 60 {
		t.Fatalf("answered %d, failed %d: %v", counts.Answered, counts.Failed, counts.LastError)
	}
	for _, app := range s.Apps {
		if counts.ByNode[app.Host.Name()] == 0 {
			t.Errorf("%s answered nothing: %v", app.Host.Name(), counts.ByNode)
		}
		if n := packetCount(t, app.Host, "responses"); n == 0 {
			t.Errorf("no response from the VIP left %s", app.Host.Name())
		}
	}
	if n := packetCount(t, s.BalancerHost, "requests"); n == 0 {
		t.Error("no request reached the balancer")
	}
	if n := packetCount(t, s.BalancerHost, "responses"); n != 0 {
		t.Errorf("%d responses passed through the balancer, want none", n)
	}
	saved := labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn")
	for _, want := range []string{
		"-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 100", "-a -f 7 -r 10.0.0.2:0 -i -w 100", "-a -f 7 -r 10.0.0.3:0 -i -w 100",
	} {
		if !strings.Contains(saved, want) {
			t.Errorf("ipvsadm -Sn lacks %q:\n%s", want, saved)
		}
	}
	rules := labtest.Run(t, s.BalancerHost, "nft", "list", "table", "inet", "lb")
	if !strings.Contains(rules, "204.109.13.7 . tcp . 443 : 0x00000007") {
		t.Errorf("nft does not show mark 7 for the VIP:\n%s", rules)
	}
}

// installCounters counts requests to the VIP and responses from it, in an nftables table of its own.
func installCounters(t *testing.T, h *lab.Host) {
	t.Helper()
	rules := fmt.Sprintf(`table inet probe {
	counter requests {}
	counter responses {}
	chain in {
		type filter hook prerouting priority -300
		ip daddr %[1]s tcp dport 443 counter name requests
		ip saddr %[1]s tcp sport 443 counter name responses
	}
	chain out {
		type filter hook output priority 300
		ip saddr %[1]s tcp sport 443 counter name responses
	}
}`, testbed.VIP)
	if err := h.WriteFile("/run/probe.nft", []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, h, "nft", "-f", "/run/probe.nft")
}

// packetCount returns the packets seen by a counter of installCounters.
func packetCount(t *testing.T, h *lab.Host, counter string) int {
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
	s := newSite(t, nil)
	want := map[string]int{}
	for n, health := range []int{45, 30, 75} {
		want[s.Apps[n].Address.String()] = health
		if err := s.Apps[n].SetHealth(health); err != nil {
			t.Fatal(err)
		}
	}
	labtest.Eventually(t, timeout, "weights 45, 30, 75", func() (bool, string) {
		got := fmt.Sprint(readWeights(t, s))
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

//go:build lab

package e2e

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestMarksAreRepairedAtOnce flushes nftables on the balancer fifty times at random moments under load.
func TestMarksAreRepairedAtOnce(t *testing.T) {
	const (
		flushes = 50
		most    = time.Second // natively 200 ms; the lab's machine is emulated
	)
	s := newSite(t, func(o *testbed.Options) { o.CheckInterval = 10 * time.Second }) // so that no timer repairs
	waitForWeight(t, s, 100)
	traffic := s.StartTraffic(t.Context(), 20)
	defer traffic.Stop()
	var took []time.Duration
	for range flushes {
		<-time.After(rand.N(500 * time.Millisecond)) //nolint:gosec // not a secret
		labtest.Run(t, s.BalancerHost, "nft", "flush", "ruleset")
		flushed := time.Now()
		labtest.Eventually(t, timeout, "the marking rules are back", func() (bool, string) {
			rules := labtest.Run(t, s.BalancerHost, "nft", "list", "ruleset")
			return strings.Contains(rules, "204.109.13.7 . tcp . 443 : 0x00000007"), rules
		})
		took = append(took, time.Since(flushed))
	}
	traffic.Stop()
	counts := traffic.Counts()
	slices.Sort(took)
	t.Logf("%d flushes: back after %v at most, %v in the median; %d of %d requests lost",
		flushes, took[flushes-1], took[flushes/2], counts.Failed, counts.Failed+counts.Answered)
	if worst := took[flushes-1]; worst > most {
		t.Errorf("the rules were back after %s, want %s at most", worst, most)
	}
	if !strings.Contains(s.Balancer.Log(), "drift repaired: another program changed the marking rules") {
		t.Error("the log reports no drift")
	}
	if standing := problems(t, s); strings.Contains(standing, "marks_lost") {
		t.Errorf("the flushes left a problem:\n%s", standing)
	}
}

// problems are those that the status shows.
func problems(t *testing.T, s *testbed.Site) string {
	t.Helper()
	status := runLB(t, s, s.BalancerHost, "ctl", "cluster", "status", "webapp", "--json")
	_, list, _ := strings.Cut(status, `"problems"`)
	return list
}

// TestInterferenceBetweenMarksAndIPVSIsNamed lets others keep marked packets from IPVS, under load, in each of the ways that were seen.
func TestInterferenceBetweenMarksAndIPVSIsNamed(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	traffic := s.StartTraffic(t.Context(), 10)
	defer traffic.Stop()
	const chain = "table inet other { chain c { type filter hook "
	for _, c := range []struct {
		name, begin, end string
		names            string // the cause, in the problem's words
		doctor           string
	}{
		{"a chain that changes marks", "nft '" + chain + "prerouting priority -140; meta mark set meta mark | 0x10000; }; }'",
			"nft delete table inet other", "chain inet other c (prerouting, priority -140) sets marks behind lb's rules",
			"bad:  chain inet other c (prerouting, priority -140) sets marks"},
		{"a rule that drops new connections", "nft '" + chain + "input priority 0; tcp flags & (syn|ack) == syn tcp dport 443 drop; }; }'",
			"nft delete table inet other", "chain inet other c (input, priority 0) drops packets", ""},
		{"a rule that drops all", "nft '" + chain + "prerouting priority 0; tcp dport 443 drop; }; }'",
			"nft delete table inet other", "chain inet other c (prerouting, priority 0) drops packets", ""},
		{"an ip rule for the mark", "ip rule add pref 10 fwmark 7 lookup 100 && ip route add blackhole default table 100 && " +
			"ip rule add pref 20 lookup local && ip rule del pref 0",
			"ip rule add pref 0 lookup local && ip rule del pref 10 && ip rule del pref 20",
			"ip rule 10 sends packets with mark 7 elsewhere", "bad:  ip rule 10 sends packets with mark 7 elsewhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			labtest.Run(t, s.BalancerHost, "sh", "-c", c.begin)
			began := time.Now()
			shows := func(what, want string, command string) {
				t.Helper()
				labtest.Eventually(t, timeout, what+" shows "+want, func() (bool, string) {
					line := "LB_CONFIG=" + testbed.ConfigPath + " " + command + " 2>&1; true"
					out := labtest.Run(t, s.BalancerHost, "sh", "-c", line)
					return strings.Contains(strings.ReplaceAll(out, `\"`, `"`), want), out
				})
			}
			lb := binary(t) + " ctl "
			shows("metrics", `lb_balancer_problems{cluster="webapp",kind="marks_lost"} 1`, "curl -sS http://127.0.0.1:9292/metrics")
			named := time.Since(began)
			shows("status", c.names, lb+"cluster status webapp")
			shows("why", c.names, lb+"why webapp 10.0.0.1")
			shows("events", c.names, lb+"events --json")
			if c.doctor != "" {
				shows("doctor", c.doctor, lb+"doctor")
			}
			// Two intervals of traffic, one that has begun before, and the lab's slowness.
			if most := 3*checkInterval + 5*time.Second; named > most {
				t.Errorf("named after %s, want %s at most", named, most)
			}
			labtest.Run(t, s.BalancerHost, "sh", "-c", c.end)
			ended := time.Now()
			labtest.Eventually(t, timeout, "the problem is over", func() (bool, string) {
				standing := problems(t, s)
				return !strings.Contains(standing, "marks_lost"), standing
			})
			t.Logf("named after %s, over %s after its end", named.Round(time.Millisecond), time.Since(ended).Round(time.Millisecond))
			if c.doctor != "" {
				shows("doctor", "good: nothing changes marks between lb's rules and IPVS", lb+"doctor")
			}
		})
	}
}

//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestForeignStateIsUntouched adds other services and rules to IPVS and nftables and takes lb through its lifecycle.
func TestForeignStateIsUntouched(t *testing.T) {
	s := newSite(t, func(o *testbed.Options) { o.Spare = 1 })
	waitForWeight(t, s, 100)
	for _, args := range []string{
		"-A -f 9 -s rr", "-a -f 9 -r 10.0.0.9 -i -w 3",
		"-A -t 204.109.13.8:80 -s sh", "-a -t 204.109.13.8:80 -r 10.0.0.8:80 -m -w 2",
	} {
		labtest.Run(t, s.BalancerHost, "ipvsadm", strings.Fields(args)...)
	}
	rules := `table ip theirs {
	map marks { type inet_service : mark; elements = { 80 : 0x00000009 } }
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta mark set tcp dport map @marks
	}
}`
	if err := s.BalancerHost.WriteFile("/run/theirs.nft", []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, s.BalancerHost, "nft", "-f", "/run/theirs.nft")
	before := foreignState(t, s)

	runLB(t, s, s.BalancerHost, "ctl", "cluster", "stop", "webapp")
	if got := labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn"); strings.Contains(got, "-f 7") {
		t.Errorf("after a stop:\n%s", got)
	}
	runLB(t, s, s.BalancerHost, "ctl", "cluster", "start", "webapp")
	waitForWeight(t, s, 100)
	if err := s.AddSpareNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitForWeight(t, s, 100)
	if err := s.Balancer.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Balancer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitForAllPolled(t, s)
	if err := s.Balancer.Stop(); err != nil {
		t.Fatal(err)
	}
	if after := foreignState(t, s); after != before {
		t.Errorf("state that lb does not own changed from\n%s\nto\n%s", before, after)
	}
}

// foreignState returns everything in IPVS except mark 7, and everything in nftables except table inet lb.
func foreignState(t *testing.T, s *testbed.Site) string {
	t.Helper()
	var kept []string
	for line := range strings.Lines(labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn")) {
		if !strings.Contains(line, "-f 7 ") {
			kept = append(kept, line)
		}
	}
	for line := range strings.Lines(labtest.Run(t, s.BalancerHost, "nft", "list", "tables")) {
		if table := strings.TrimSpace(line); table != "table inet lb" {
			kept = append(kept, labtest.Run(t, s.BalancerHost, "nft", append([]string{"-a", "list"}, strings.Fields(table)...)...))
		}
	}
	return strings.Join(kept, "")
}

// waitForAllPolled waits until every node has been polled since the balancer's start.
func waitForAllPolled(t *testing.T, s *testbed.Site) {
	t.Helper()
	labtest.Eventually(t, timeout, "every node has been polled", func() (bool, string) {
		out, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "cluster", "status", "webapp")
		return err == nil && !strings.Contains(out, "unknown"), fmt.Sprint(out, err)
	})
}

func TestDriftIsRepairedAndLogged(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	for _, c := range []struct{ name, args string }{
		{"another weight", "-e -f 7 -r 10.0.0.2 -i -w 17"},
		{"weight 0", "-e -f 7 -r 10.0.0.2 -i -w 0"},
		{"a node removed", "-d -f 7 -r 10.0.0.2"},
		{"the whole service removed", "-D -f 7"},
		{"another scheduler", "-E -f 7 -s rr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			logged := len(s.Balancer.Log())
			labtest.Run(t, s.BalancerHost, "ipvsadm", strings.Fields(c.args)...)
			changed := time.Now()
			labtest.Eventually(t, timeout, "the table is repaired", func() (bool, string) {
				saved := labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn")
				return strings.Contains(saved, "-A -f 7 -s wrr") && strings.Count(saved, "-w 100") == 3, saved
			})
			if took := time.Since(changed); took > 2*checkInterval {
				t.Errorf("repaired after %s, want within two intervals", took)
			}
			labtest.Eventually(t, timeout, "the log reports drift", func() (bool, string) {
				log := s.Balancer.Log()[logged:]
				return strings.Contains(log, "drift"), log
			})
		})
	}
}

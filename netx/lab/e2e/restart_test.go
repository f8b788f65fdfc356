//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestRestartsAndReloadsLoseNothing stops, starts and reloads lb balance under load: no request fails and no weight changes.
func TestRestartsAndReloadsLoseNothing(t *testing.T) {
	s := newSite(t, nil)
	for n, health := range []int{90, 60, 100} {
		if err := s.Apps[n].SetHealth(health); err != nil {
			t.Fatal(err)
		}
	}
	want := "map[10.0.0.1:90 10.0.0.2:60 10.0.0.3:100]"
	labtest.Eventually(t, timeout, want, func() (bool, string) {
		got := fmt.Sprint(readWeights(t, s))
		return got == want, got
	})
	good := labtest.Run(t, s.BalancerHost, "cat", "/run/lb.toml")
	for _, c := range []struct {
		name string
		do   func() error
		log  string // expected in the daemon's log afterwards
	}{
		{"SIGTERM and start", func() error { return restart(t, s, s.Balancer.Stop) }, "webapp"},
		{"kill -9 and start", func() error { return restart(t, s, s.Balancer.Kill) }, "webapp"},
		{"SIGHUP with a good file", s.Balancer.Reload, "reload"},
		{"SIGHUP with a broken file", func() error {
			if err := s.WriteConfig([]byte(strings.Replace(good, "wrr", "wrrr", 1))); err != nil {
				return err
			}
			return s.Balancer.Reload()
		}, "wrrr"},
		{"SIGHUP with an empty file", func() error {
			if err := s.WriteConfig(nil); err != nil {
				return err
			}
			return s.Balancer.Reload()
		}, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := recordWeights(t, s)
			traffic := s.StartTraffic(t.Context(), 20)
			waitForRequests(t, traffic)
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			labtest.Eventually(t, timeout, fmt.Sprintf("a log line with %q", c.log), func() (bool, string) {
				log := s.Balancer.Log()
				return strings.Contains(log, c.log), log
			})
			waitForReadings(t, s)
			counts := traffic.Stop()
			if counts.Failed != 0 {
				t.Errorf("%d of %d requests failed: %v", counts.Failed, counts.Failed+counts.Answered, counts.LastError)
			}
			for _, w := range stop() {
				if fmt.Sprint(w) != want {
					t.Errorf("weights changed to %v", w)
				}
			}
			if err := s.WriteConfig([]byte(good)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// restart stops the balancer, sends requests through the kernel alone, and starts it again.
func restart(t *testing.T, s *testbed.Site, stop func() error) error {
	t.Helper()
	if err := stop(); err != nil {
		return err
	}
	if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 {
		t.Errorf("without the balancer %d of 40 requests failed: %v", counts.Failed, counts.LastError)
	}
	return s.Balancer.Start(t.Context())
}

// waitForReadings waits until the balancer has a reading of every node.
func waitForReadings(t *testing.T, s *testbed.Site) {
	t.Helper()
	labtest.Eventually(t, timeout, "the balancer has a reading of every node", func() (bool, string) {
		out, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "cluster", "status", "webapp", "--json")
		return err == nil && strings.Count(out, `"state":"up"`)+strings.Count(out, `"state": "up"`) == 3, fmt.Sprint(out, err)
	})
}

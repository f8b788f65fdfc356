//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestTheBalancersEndLosesNothing ends, starts and reloads lb balance under load: no request fails and no weight moves.
func TestTheBalancersEndLosesNothing(t *testing.T) {
	s := stage(t, nil)
	for n, health := range []int{90, 60, 100} {
		if err := s.Apps[n].SetHealth(health); err != nil {
			t.Fatal(err)
		}
	}
	want := "map[10.0.0.1:90 10.0.0.2:60 10.0.0.3:100]"
	labtest.Eventually(t, patience, want, func() (bool, string) {
		got := fmt.Sprint(weights(t, s))
		return got == want, got
	})
	good := labtest.Run(t, s.BalancerHost, "cat", "/run/lb.toml")
	for _, c := range []struct {
		name string
		do   func() error
		log  string // that the daemon must have printed afterwards
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
			stop := watchWeights(t, s)
			traffic := s.StartTraffic(t.Context(), 20)
			settle(t, traffic)
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			labtest.Eventually(t, patience, fmt.Sprintf("a log line with %q", c.log), func() (bool, string) {
				log := s.Balancer.Log()
				return strings.Contains(log, c.log), log
			})
			polled(t, s)
			counts := traffic.Stop()
			if counts.Failed != 0 {
				t.Errorf("%d of %d requests failed: %v", counts.Failed, counts.Failed+counts.Answered, counts.LastError)
			}
			for _, w := range stop() {
				if fmt.Sprint(w) != want {
					t.Errorf("weights moved to %v", w)
				}
			}
			if err := s.WriteConfig([]byte(good)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// restart ends the balancer, has the kernel work alone for some requests, and starts it again.
func restart(t *testing.T, s *testbed.Site, end func() error) error {
	t.Helper()
	if err := end(); err != nil {
		return err
	}
	if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 {
		t.Errorf("without the balancer %d of 40 requests failed: %v", counts.Failed, counts.LastError)
	}
	return s.Balancer.Start(t.Context())
}

// polled waits until the balancer follows the agents: it sees a new health of app01, and then the old one again.
func polled(t *testing.T, s *testbed.Site) {
	t.Helper()
	labtest.Eventually(t, patience, "the balancer has readings", func() (bool, string) {
		out, err := s.RunLB(t.Context(), s.BalancerHost, "ctl", "cluster", "status", "webapp", "--json")
		return err == nil && strings.Count(out, `"state":"up"`)+strings.Count(out, `"state": "up"`) == 3, fmt.Sprint(out, err)
	})
}

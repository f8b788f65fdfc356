//go:build lab

package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// TestFailureRemovesOnlyThatNode breaks a node in four ways. As documented, a report of health 0 by the agent takes effect at once;
// polls without a usable response do after `fall` in a row, 2 by default, and three heartbeats and a connection that fails count as two.
func TestFailureRemovesOnlyThatNode(t *testing.T) {
	const slack = 2 * time.Second // the guest is slow at starting processes and emulating packets
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	app := s.Apps[2]
	for _, c := range []struct {
		name   string
		fail   func() error
		repair func() error
		within time.Duration
	}{
		{
			"heartbeat answers 500",
			func() error { app.SetHeartbeat(http.StatusInternalServerError); return nil },
			func() error { app.SetHeartbeat(http.StatusOK); return nil },
			testbed.AgentInterval + checkInterval, // the agent's check, then the balancer's poll
		},
		{
			"agent hangs",
			func() error { return app.Agent.Signal(syscall.SIGSTOP) },
			func() error { return app.Agent.Signal(syscall.SIGCONT) },
			3 * checkInterval, // two polls, and the timeout of the second
		},
		{
			"agent dies",
			func() error { return app.Agent.Kill() },
			func() error { return app.Agent.Start(t.Context()) },
			2 * checkInterval,
		},
		{
			"node vanishes from the network",
			func() error { return app.Host.Unplug() },
			func() error { return app.Host.Plug() },
			time.Second, // three heartbeats, and half of that to connect
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := recordWeights(t, s)
			broken := time.Now()
			if err := c.fail(); err != nil {
				t.Fatal(err)
			}
			table := openTable(t, s)
			labtest.Eventually(t, timeout, "app03 at weight 0", func() (bool, string) {
				got := dumpWeights(t, table)
				return got["10.0.0.3"] == 0, fmt.Sprint(got)
			})
			if took := time.Since(broken); took > c.within+slack {
				t.Errorf("weight 0 after %s, want within %s plus %s", took, c.within, slack)
			} else {
				t.Logf("weight 0 after %s", took)
			}
			if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 || counts.ByNode["app03"] != 0 {
				t.Errorf("after weight 0: %d failed, %v: %v", counts.Failed, counts.ByNode, counts.LastError)
			}
			if err := c.repair(); err != nil {
				t.Fatal(err)
			}
			waitForWeight(t, s, 100)
			for _, w := range stop() {
				if w["10.0.0.1"] != 100 || w["10.0.0.2"] != 100 {
					t.Errorf("another node's weight changed: %v", w)
				}
			}
		})
	}
}

func TestNewNodeRampsUpOnTime(t *testing.T) {
	const ramp = 8 * time.Second
	s := newSite(t, func(o *testbed.Options) { o.Spare, o.RampUp = 1, ramp })
	waitForWeight(t, s, 100)
	table := openTable(t, s)
	stop := recordWeights(t, s)
	if err := s.AddSpareNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "app04 in rotation", func() (bool, string) {
		got := dumpWeights(t, table)
		return got["10.0.0.4"] > 0, fmt.Sprint(got)
	})
	start := time.Now()
	labtest.Eventually(t, timeout, "app04 at weight 100", func() (bool, string) {
		got := dumpWeights(t, table)
		return got["10.0.0.4"] == 100, fmt.Sprint(got)
	})
	took := time.Since(start)
	if took < ramp-checkInterval || took > ramp+checkInterval+500*time.Millisecond {
		t.Errorf("full weight after %s, want %s within a check interval", took, ramp)
	}
	last, started := 0, false
	for _, w := range stop() {
		weight, inTable := w["10.0.0.4"]
		if w["10.0.0.1"] != 100 || w["10.0.0.2"] != 100 || w["10.0.0.3"] != 100 {
			t.Errorf("another node's weight changed: %v", w)
		}
		if !inTable || (weight == 0 && !started) {
			continue // not polled yet
		}
		started = true
		if weight < 1 || weight < last {
			t.Errorf("weight went from %d to %d", last, weight)
		}
		last = weight
	}
}

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

// TestFailuresTakeOneNodeOut breaks a node in four ways. The documented rule: an agent's own word that it is down counts
// at once; no usable answer counts after `fall` polls in a row, 2 by default.
func TestFailuresTakeOneNodeOut(t *testing.T) {
	const slack = 2 * time.Second // of the slow guest: processes to start, packets to emulate
	s := stage(t, nil)
	settled(t, s, 100)
	app := s.Apps[2]
	for _, c := range []struct {
		name   string
		breaks func() error
		mends  func() error
		within time.Duration
	}{
		{
			"heartbeat answers 500",
			func() error { app.SetHeartbeat(http.StatusInternalServerError); return nil },
			func() error { app.SetHeartbeat(http.StatusOK); return nil },
			testbed.AgentInterval + interval, // the agent's check, then the balancer's poll
		},
		{
			"agent hangs",
			func() error { return app.Agent.Signal(syscall.SIGSTOP) },
			func() error { return app.Agent.Signal(syscall.SIGCONT) },
			3 * interval, // two polls and the second one's time-out
		},
		{
			"agent dies",
			func() error { return app.Agent.Kill() },
			func() error { return app.Agent.Start(t.Context()) },
			2 * interval,
		},
		{
			"node vanishes from the network",
			func() error { return app.Host.Unplug() },
			func() error { return app.Host.Plug() },
			3 * interval,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := watchWeights(t, s)
			broken := time.Now()
			if err := c.breaks(); err != nil {
				t.Fatal(err)
			}
			table := kernelTable(t, s)
			labtest.Eventually(t, patience, "app03 at weight 0", func() (bool, string) {
				got := dump(t, table)
				return got["10.0.0.3"] == 0, fmt.Sprint(got)
			})
			if took := time.Since(broken); took > c.within+slack {
				t.Errorf("weight 0 after %s, want within %s and %s of slack", took, c.within, slack)
			} else {
				t.Logf("weight 0 after %s", took)
			}
			if counts := s.SendRequests(t.Context(), 40, 4); counts.Failed != 0 || counts.ByNode["app03"] != 0 {
				t.Errorf("after weight 0: %d failed, %v: %v", counts.Failed, counts.ByNode, counts.LastError)
			}
			if err := c.mends(); err != nil {
				t.Fatal(err)
			}
			settled(t, s, 100)
			for _, w := range stop() {
				if w["10.0.0.1"] != 100 || w["10.0.0.2"] != 100 {
					t.Errorf("the other nodes were disturbed: %v", w)
				}
			}
		})
	}
}

func TestANewNodeRampsUpOnTime(t *testing.T) {
	const ramp = 8 * time.Second
	s := stage(t, func(o *testbed.Options) { o.Spare, o.RampUp = 1, ramp })
	settled(t, s, 100)
	table := kernelTable(t, s)
	stop := watchWeights(t, s)
	if err := s.AddSpareNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, "app04 in rotation", func() (bool, string) {
		got := dump(t, table)
		return got["10.0.0.4"] > 0, fmt.Sprint(got)
	})
	start := time.Now()
	labtest.Eventually(t, patience, "app04 at weight 100", func() (bool, string) {
		got := dump(t, table)
		return got["10.0.0.4"] == 100, fmt.Sprint(got)
	})
	took := time.Since(start)
	if took < ramp-interval || took > ramp+interval+500*time.Millisecond {
		t.Errorf("full weight after %s, want %s, give or take a check interval", took, ramp)
	}
	last, started := 0, false
	for _, w := range stop() {
		weight, inTable := w["10.0.0.4"]
		if w["10.0.0.1"] != 100 || w["10.0.0.2"] != 100 || w["10.0.0.3"] != 100 {
			t.Errorf("the other nodes were disturbed: %v", w)
		}
		if !inTable || (weight == 0 && !started) {
			continue // not asked yet
		}
		started = true
		if weight < 1 || weight < last {
			t.Errorf("weight went from %d to %d", last, weight)
		}
		last = weight
	}
}

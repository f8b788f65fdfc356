//go:build lab

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// newDefaultSite is a site with the default check_interval, whose nodes are all watched by their streams.
func newDefaultSite(t *testing.T) *testbed.Site {
	t.Helper()
	s := newSite(t, func(o *testbed.Options) { o.CheckInterval = 2 * time.Second })
	waitForWeight(t, s, 100)
	waitForStreams(t, s)
	return s
}

// waitForStreams waits until every node is watched by its stream.
func waitForStreams(t *testing.T, s *testbed.Site) {
	t.Helper()
	labtest.Eventually(t, timeout, "all nodes are watched by their streams", func() (bool, string) {
		for _, app := range s.ConfiguredApps() {
			out := runLB(t, s, s.BalancerHost, "ctl", "why", "webapp", app.Address.String())
			if !strings.Contains(out, "watched by stream") {
				return false, out
			}
		}
		return true, ""
	})
}

// TestANodeWithoutPowerIsOutWithinASecond cuts nodes off, as a power loss does, at moments spread over a heartbeat.
func TestANodeWithoutPowerIsOutWithinASecond(t *testing.T) {
	const promised, times = time.Second, 6
	s := newDefaultSite(t)
	table := openTable(t, s)
	var took []time.Duration
	for n := range times {
		app := s.Apps[n%len(s.Apps)]
		<-time.After(time.Duration(n) * 200 * time.Millisecond / times)
		begun := time.Now()
		if err := app.Host.Unplug(); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, timeout, app.Address.String()+" at weight 0", func() (bool, string) {
			got := dumpWeights(t, table)
			return got[app.Address.String()] == 0, fmt.Sprint(got)
		})
		took = append(took, time.Since(begun))
		if err := app.Host.Plug(); err != nil {
			t.Fatal(err)
		}
		waitForWeight(t, s, 100)
		waitForStreams(t, s)
	}
	slices.Sort(took)
	t.Logf("from the power loss to weight 0, %d times: median %s, minimum %s, maximum %s (promised: %s)",
		times, took[times/2], took[0], took[times-1], promised)
	if took[times/2] > promised+guestDelay/2 || took[0] < 300*time.Millisecond {
		t.Errorf("want a median of %s plus %s at most: %v", promised, guestDelay/2, took)
	}
}

// TestPausesAreNotSilence pauses processes, restarts agents and keeps the processors busy. No node may lose its weight for silence.
func TestPausesAreNotSilence(t *testing.T) {
	s := newDefaultSite(t)
	app := s.Apps[1]
	pause := func(d *testbed.Daemon, long time.Duration) func(t *testing.T) {
		return func(t *testing.T) {
			signal(t, d, syscall.SIGSTOP)
			<-time.After(long)
			signal(t, d, syscall.SIGCONT)
		}
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"the agent stops for 400ms", pause(app.Agent, 400*time.Millisecond)},
		{"the agent stops for 2s", pause(app.Agent, 2*time.Second)},
		{"the balancer stops for 700ms", pause(s.Balancer, 700*time.Millisecond)},
		{"the balancer stops for 10s", pause(s.Balancer, 10*time.Second)},
		{"the agent reloads", func(t *testing.T) {
			for range 3 {
				if err := app.Agent.Reload(); err != nil {
					t.Fatal(err)
				}
				<-time.After(500 * time.Millisecond)
			}
		}},
		{"the agent restarts", func(t *testing.T) {
			if err := app.Agent.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := app.Agent.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"the processors are busy", func(t *testing.T) {
			for range 6 {
				burn(t, s.BalancerHost)
			}
			<-time.After(10 * time.Second)
		}},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			waitForStreams(t, s)
			before := len(s.Balancer.Log())
			c.do(t)
			waitForStreams(t, s)
			// On busy processors the agents' own checks fail, too: only what the balancer says of silence counts.
			if log := s.Balancer.Log()[before:]; strings.Contains(log, "no response for 2 polls") {
				t.Errorf("the balancer took it for silence:\n%s", log)
			}
		}) {
			waitForWeight(t, s, 100)
		}
	}
}

func signal(t *testing.T, d *testbed.Daemon, s syscall.Signal) {
	t.Helper()
	if err := d.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// burn keeps a processor busy until the test ends.
func burn(t *testing.T, h *lab.Host) {
	t.Helper()
	p, err := h.Start(lab.Command{Path: "sh", Args: []string{"-c", "while :; do :; done"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
}

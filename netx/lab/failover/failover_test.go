//go:build lab

package failover

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/cluster"
)

// timeout limits waits for events without a deadline of their own; the guest is 10 to 20 times slower than real hardware, and three
// machines share it.
const timeout = 2 * time.Minute

// Poll intervals of eventually.
const (
	fastPoll = 200 * time.Millisecond // for kernel state
	slowPoll = 4 * time.Second        // for conditions that run a program, which takes half a second of processor time in the guest
)

// eventually waits until cond, checked at an interval, holds. If it does not within the timeout, the test fails with the last state seen.
func eventually(t *testing.T, interval time.Duration, what string, cond func() (ok bool, last string)) {
	t.Helper()
	deadline := time.After(timeout)
	for {
		ok, last := cond()
		if ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("timed out after %v waiting for: %s\nlast state: %s", timeout, what, last)
		case <-time.After(interval):
		}
	}
}

// TestFailover takes three balancers under load through failures. Each scenario can run alone: -run 'TestFailover/power'. All share one
// cluster, because building it takes a minute; each starts by repairing what an earlier one broke.
func TestFailover(t *testing.T) {
	s := &suite{}
	s.build(t)
	s.start(t)
	t.Cleanup(func() { s.logTable(t) })
	t.Run("cold start", s.coldStart)
	t.Run("planned move", s.plannedMove)
	t.Run("power loss", s.powerLoss)
	t.Run("daemon dies", s.daemonDies)
	t.Run("daemon hangs", s.daemonHangs)
	t.Run("split", s.split)
}

// suite is the cluster that all scenarios share.
type suite struct {
	cluster *cluster.Cluster
	logs    string // directory of the machines' logs, with a subdirectory for each boot

	membership  time.Duration // from power-on until three balancers are online
	configuring time.Duration // duration of the command that configures Pacemaker
	serving     time.Duration // from the start of that command to the first response

	rows []row
}

// row is a line of the summary table.
type row struct{ scenario, what, webapp, baseline string }

func (s *suite) record(scenario, what string, webapp, baseline any) {
	s.rows = append(s.rows, row{scenario, what, formatValue(webapp), formatValue(baseline)})
}

// formatValue formats a value of the table.
func formatValue(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Duration:
		return fmt.Sprintf("%.1f s", v.Seconds())
	}
	return fmt.Sprint(v)
}

func (s *suite) logTable(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-14s %-52s %10s %10s\n", "scenario", "what", "webapp", "baseline")
	for _, r := range s.rows {
		fmt.Fprintf(&b, "%-14s %-52s %10s %10s\n", r.scenario, r.what, r.webapp, r.baseline)
	}
	t.Log(b.String())
}

// build creates the hosts, without power for the balancers. Logs of a failed run are kept in LAB_OUT.
func (s *suite) build(t *testing.T) {
	binary := os.Getenv("LB_BIN")
	if binary == "" {
		t.Fatal("LB_BIN is not set: give it the path of the lb to test, as scripts/test does")
	}
	s.logs = t.TempDir()
	// Pacemaker's processes write their logs as another user.
	for dir := s.logs; dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.cluster, err = cluster.New(t.Context(), slog.New(slog.DiscardHandler), cluster.Options{Binary: binary, Logs: s.logs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.Close(); err != nil {
			t.Error(err)
		}
		if out := os.Getenv("LAB_OUT"); t.Failed() && out != "" {
			if err := os.CopyFS(filepath.Join(out, fmt.Sprintf("logs-%d", os.Getpid())), os.DirFS(s.logs)); err != nil {
				t.Error(err)
			}
		}
	})
}

func (s *suite) balancer(t *testing.T, name string) *cluster.Balancer {
	t.Helper()
	for _, b := range s.cluster.Balancers {
		if b.Name == name {
			return b
		}
	}
	t.Fatalf("no balancer %q", name)
	return nil
}

// start powers on all balancers and configures Pacemaker.
func (s *suite) start(t *testing.T) {
	t.Helper()
	begun := time.Now()
	s.boot(t)
	first := s.cluster.Balancers[0]
	t.Logf("%.1f s: three balancers are powered on", time.Since(begun).Seconds())
	s.waitOnline(t)
	s.membership = time.Since(begun)
	t.Logf("%.1f s: all are online", time.Since(begun).Seconds())
	if err := first.ConfigureFencing(t.Context()); err != nil {
		t.Fatal(err)
	}
	configured := time.Now()
	if err := first.ConfigureClusters(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.configuring = time.Since(configured)
	t.Logf("%.1f s: Pacemaker is configured", time.Since(begun).Seconds())
	s.waitServing(t)
	s.serving = time.Since(configured)
	t.Logf("%.1f s: webapp responds", time.Since(begun).Seconds())
	if err := first.AddBaseline(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, fastPoll, "the baseline address is on one balancer", func() (bool, string) {
		holders := s.cluster.Holders(t.Context(), cluster.Baseline.Addr())
		return len(holders) == 1, fmt.Sprint(holders)
	})
}

// boot powers on every balancer that is off.
func (s *suite) boot(t *testing.T) {
	t.Helper()
	var boots sync.WaitGroup
	for _, b := range s.cluster.Balancers {
		if b.Host() == nil {
			boots.Go(func() {
				if err := b.Boot(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	boots.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (s *suite) waitOnline(t *testing.T) {
	t.Helper()
	eventually(t, slowPoll, "three balancers are online", func() (bool, string) {
		state, err := s.cluster.Balancers[0].Status(t.Context())
		return err == nil && len(cluster.Online(state)) == 3, fmt.Sprintf("%+v %v", state.Machines, err)
	})
}

// waitServing waits until one balancer has the virtual IP, every kernel has the expected weights, and the client gets responses.
func (s *suite) waitServing(t *testing.T) {
	t.Helper()
	eventually(t, fastPoll, "webapp runs everywhere and its address is on one balancer", func() (bool, string) {
		var seen []string
		for _, b := range s.cluster.Balancers {
			seen = append(seen, b.Weights(t.Context()))
		}
		holders := s.cluster.Holders(t.Context(), cluster.Webapp.Addr())
		return len(holders) == 1 && !slices.ContainsFunc(seen, func(w string) bool { return w != s.cluster.ExpectedWeights() }),
			fmt.Sprintf("address on %v, weights %q", holders, seen)
	})
	s.waitAnswered(t, s.cluster.StartProbes(t.Context(), cluster.Webapp))
}

// waitAnswered waits for a response and stops the probes.
func (s *suite) waitAnswered(t *testing.T, p *cluster.Probes) {
	t.Helper()
	from := time.Now()
	eventually(t, fastPoll, "the client gets responses", func() (bool, string) { return p.AnsweredSince(from) > 0, "" })
	p.Stop()
}

// restore repairs what an earlier scenario broke. It returns the balancer that has the virtual IP and the baseline address.
func (s *suite) restore(t *testing.T) *cluster.Balancer {
	t.Helper()
	s.boot(t)
	s.waitOnline(t)
	b := s.cluster.Balancers[0]
	if _, err := b.Run(t.Context(), "", "crm_resource", "--cleanup"); err != nil {
		t.Fatal(err)
	}
	s.waitServing(t)
	holder := s.cluster.Holders(t.Context(), cluster.Webapp.Addr())[0]
	if baseline := s.cluster.Holders(t.Context(), cluster.Baseline.Addr()); !slices.Equal(baseline, []string{holder}) {
		if _, err := b.Run(t.Context(), "", "crm_resource", "--move", "--resource", "baseline", "--node", holder); err != nil {
			t.Fatal(err)
		}
		// The move must be done before its constraint is cleared.
		eventually(t, fastPoll, "the baseline address is on the same balancer", func() (bool, string) {
			holders := s.cluster.Holders(t.Context(), cluster.Baseline.Addr())
			return slices.Equal(holders, []string{holder}), fmt.Sprint(holders)
		})
		if _, err := b.Run(t.Context(), "", "crm_resource", "--clear", "--resource", "baseline"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, slowPoll, "Pacemaker is idle", func() (bool, string) {
		state, err := b.Status(t.Context())
		if err != nil {
			return false, err.Error()
		}
		at := []string{holder}
		ok := slices.Equal(cluster.RunningOn(state, "baseline"), at) &&
			slices.Equal(cluster.RunningOn(state, "vip-"+cluster.Webapp.Addr().String()), at) &&
			len(cluster.RunningOn(state, "cluster-webapp")) == 3
		return ok, fmt.Sprintf("%+v", state)
	})
	s.waitAnswered(t, s.cluster.StartProbes(t.Context(), cluster.Baseline))
	return s.balancer(t, holder)
}

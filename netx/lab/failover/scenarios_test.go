//go:build lab

package failover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/cluster"
	"github.com/braintree/lb/ocf/crm"
)

// waitForMove waits until an address is on exactly one balancer other than from, and returns its name.
func (s *suite) waitForMove(t *testing.T, from *cluster.Balancer, address netip.Addr) string {
	t.Helper()
	var to string
	eventually(t, fastPoll, fmt.Sprintf("%s is on a balancer other than %s", address, from.Name), func() (bool, string) {
		holders := s.cluster.Holders(t.Context(), address)
		if len(holders) != 1 || holders[0] == from.Name {
			return false, fmt.Sprintf("%v", holders)
		}
		to = holders[0]
		return true, ""
	})
	return to
}

// otherBalancer returns a balancer that is powered on and is not this one.
func (s *suite) otherBalancer(t *testing.T, than *cluster.Balancer) *cluster.Balancer {
	t.Helper()
	for _, b := range s.cluster.Balancers {
		if b != than && b.Host() != nil {
			return b
		}
	}
	t.Fatal("no other balancer is powered on")
	return nil
}

// coldStart records how long the start of three balancers took.
func (s *suite) coldStart(t *testing.T) {
	s.record("cold start", "from power-on to three balancers online", s.membership, nil)
	s.record("cold start", "lb ctl pacemaker | crm configure load update -", s.configuring, nil)
	s.record("cold start", "from that command to a response from the virtual IP", s.serving, nil)
	if most := 2 * time.Minute; s.serving > most {
		t.Errorf("%s from the command to a response; docs/pacemaker.md promises at most %s", s.serving, most)
	}
}

// plannedMove puts the active balancer in standby, twice: there and back.
func (s *suite) plannedMove(t *testing.T) {
	var webapp, baseline time.Duration
	for range 2 {
		active := s.restore(t)
		l := s.startLoad(t)
		if err := active.SetStandby(t.Context(), active.Name, true); err != nil {
			t.Fatal(err)
		}
		s.waitForMove(t, active, cluster.Webapp.Addr())
		s.waitForMove(t, active, cluster.Baseline.Addr())
		l.waitForFlow(t, time.Now())
		w, b, broken := l.stop(t)
		s.recordResults("planned move", w, b, broken)
		checkNothingLost(t, w, broken)
		webapp, baseline = webapp+w.outage, baseline+b.outage
		if err := active.SetStandby(t.Context(), active.Name, false); err != nil {
			t.Fatal(err)
		}
	}
	compareOutages(t, webapp, baseline)
}

// powerLoss cuts the power of the active balancer.
func (s *suite) powerLoss(t *testing.T) {
	active := s.restore(t)
	l := s.startLoad(t)
	if err := active.PowerOff(); err != nil {
		t.Fatal(err)
	}
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.waitForMove(t, active, cluster.Baseline.Addr())
	l.waitForFlow(t, time.Now())
	webapp, baseline, broken := l.stop(t)
	s.recordResults("power loss", webapp, baseline, broken)
	compareOutages(t, webapp.outage, baseline.outage)
	for _, err := range broken {
		t.Errorf("a connection broke: %v", err)
	}
	if !slices.Contains(s.cluster.SwitchedOff(), active.Name) {
		t.Errorf("Pacemaker did not fence %s before the takeover; switched off: %v", active.Name, s.cluster.SwitchedOff())
	}
}

// daemonDies kills lb balance on the active balancer: once it restarts as under systemd, once it does not.
func (s *suite) daemonDies(t *testing.T) {
	active := s.restore(t)
	l := s.startLoad(t)
	if err := active.Daemon().Kill(); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Second) // RestartSec of packaging/systemd/lb-balance.service
	if err := active.Daemon().Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.checkMonitors(t, active)
	webapp, _, broken := l.stop(t)
	s.record("daemon dies", "restarted after 1 s: longest time without a response", webapp.outage, nil)
	checkNothingLost(t, webapp, broken)
	if holders := s.cluster.Holders(t.Context(), cluster.Webapp.Addr()); !slices.Equal(holders, []string{active.Name}) {
		t.Errorf("the address moved from %s to %v", active.Name, holders)
	}

	l = s.startLoad(t)
	died := time.Now()
	if err := active.Daemon().Kill(); err != nil {
		t.Fatal(err)
	}
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.record("daemon dies", "not restarted: from its death to the move", time.Since(died), nil)
	l.waitForFlow(t, time.Now())
	webapp, _, broken = l.stop(t)
	s.record("daemon dies", "not restarted: longest time without a response", webapp.outage, nil)
	checkNothingLost(t, webapp, broken)
	s.checkFailedMonitor(t, active)
	if err := active.Daemon().Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// checkMonitors waits for two monitor intervals and checks that Pacemaker saw no failure.
func (s *suite) checkMonitors(t *testing.T, b *cluster.Balancer) {
	t.Helper()
	const two = 2 * 5 * time.Second
	<-time.After(two)
	state, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Failures) > 0 {
		t.Errorf("Pacemaker saw failures: %+v", state.Failures)
	}
}

// checkFailedMonitor checks that the cluster's monitor reported an error in time, and that no stop failed.
func (s *suite) checkFailedMonitor(t *testing.T, b *cluster.Balancer) {
	t.Helper()
	state, err := s.otherBalancer(t, b).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range state.Failures {
		t.Logf("Pacemaker saw %+v", f)
	}
	if !slices.ContainsFunc(state.Failures, func(f crm.Failure) bool {
		return strings.HasPrefix(f.Operation, "cluster-webapp_monitor") && f.Machine == b.Name &&
			f.Exit == "error" && f.Status == crm.Complete
	}) || slices.ContainsFunc(state.Failures, func(f crm.Failure) bool { return strings.Contains(f.Operation, "_stop_") }) {
		t.Errorf("want a monitor of cluster-webapp on %s that reported an error in time, and no failed stop; Pacemaker saw %+v",
			b.Name, state.Failures)
	}
	if !slices.Contains(cluster.Online(state), b.Name) {
		t.Fatalf("%s is no longer online: %+v", b.Name, state.Machines)
	}
}

// daemonHangs suspends lb balance on the active balancer.
func (s *suite) daemonHangs(t *testing.T) {
	active := s.restore(t)
	l := s.startLoad(t)
	hung := time.Now()
	if err := active.Daemon().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.record("daemon hangs", "from the hang to the move", time.Since(hung), nil)
	l.waitForFlow(t, time.Now())
	webapp, _, broken := l.stop(t)
	s.record("daemon hangs", "longest time without a response", webapp.outage, nil)
	checkNothingLost(t, webapp, broken)
	eventually(t, fastPoll, "the cluster is removed from that kernel", func() (bool, string) {
		w := active.Weights(t.Context())
		return w == "", w
	})
	s.checkFailedMonitor(t, active)
	if err := active.Daemon().Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// split disconnects the active balancer from all others. Fencing is disabled, so that the test sees what the balancer does by itself.
func (s *suite) split(t *testing.T) {
	active := s.restore(t)
	if err := active.SetProperty(t.Context(), "stonith-enabled", "false"); err != nil {
		t.Fatal(err)
	}
	l := s.startLoad(t)
	l.isolated.Store(active)
	cut := time.Now()
	if err := active.Host().Unplug(); err != nil {
		t.Fatal(err)
	}
	eventually(t, fastPoll, "the balancer without quorum has stopped its cluster and released the address", func() (bool, string) {
		w, holders := active.Weights(t.Context()), s.cluster.Holders(t.Context(), cluster.Webapp.Addr())
		return w == "" && !slices.Contains(holders, active.Name), fmt.Sprintf("weights %q, address on %v", w, holders)
	})
	s.record("split", "from the split to the end of the cluster there", time.Since(cut), nil)
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.waitForMove(t, active, cluster.Baseline.Addr())
	l.waitForFlow(t, time.Now())
	healed := time.Now()
	if err := active.Host().Plug(); err != nil {
		t.Fatal(err)
	}
	s.waitOnline(t)
	s.waitServing(t)
	s.record("split", "from the repair to the cluster on all three", time.Since(healed), nil)
	for _, address := range []netip.Addr{cluster.Webapp.Addr(), cluster.Baseline.Addr()} {
		answering, err := s.cluster.ARPResponders(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if holders := s.cluster.Holders(t.Context(), address); len(answering) != 1 || !slices.Equal(answering, holders) {
			t.Errorf("%s: %v respond to ARP, %v have it", address, answering, holders)
		}
	}
	webapp, baseline, broken := l.stop(t)
	s.recordResults("split", webapp, baseline, broken)
	for _, err := range broken {
		t.Errorf("a connection broke: %v", err)
	}
	if err := active.SetProperty(t.Context(), "stonith-enabled", "true"); err != nil {
		t.Fatal(err)
	}
}

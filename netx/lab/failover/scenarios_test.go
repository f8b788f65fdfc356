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

// away waits until an address is on one other balancer and returns that.
func (s *suite) waitForMove(t *testing.T, from *cluster.Balancer, address netip.Addr) string {
	t.Helper()
	var to string
	eventually(t, fastPoll, fmt.Sprintf("%s is on another balancer than %s", address, from.Name), func() (bool, string) {
		holders := s.cluster.Holders(t.Context(), address)
		if len(holders) != 1 || holders[0] == from.Name {
			return false, fmt.Sprintf("%v", holders)
		}
		to = holders[0]
		return true, ""
	})
	return to
}

// other is a balancer that has power and is not this one.
func (s *suite) otherBalancer(t *testing.T, than *cluster.Balancer) *cluster.Balancer {
	t.Helper()
	for _, b := range s.cluster.Balancers {
		if b != than && b.Host() != nil {
			return b
		}
	}
	t.Fatal("no other balancer has power")
	return nil
}

// coldStart has three balancers start from nothing.
func (s *suite) coldStart(t *testing.T) {
	s.record("cold start", "from power to three balancers online", s.membership, nil)
	s.record("cold start", "lb ctl pacemaker | crm configure load update -", s.configuring, nil)
	s.record("cold start", "from that command to answers from the virtual IP", s.serving, nil)
	if most := 2 * time.Minute; s.serving > most {
		t.Errorf("it took %s from the command to answers; docs/pacemaker.md says %s at the most", s.serving, most)
	}
}

// plannedMove has the balancer with the addresses give them away, twice: there and back.
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

// powerLoss takes the power from the balancer with the addresses.
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
		t.Errorf("Pacemaker did not have %s switched off before it took over: %v", active.Name, s.cluster.SwitchedOff())
	}
}

// daemonDies kills lb balance where the addresses are: once it is back as systemd would have it, once it is not.
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
	s.record("daemon dies", "back after 1 s: longest time without an answer", webapp.outage, nil)
	checkNothingLost(t, webapp, broken)
	if holders := s.cluster.Holders(t.Context(), cluster.Webapp.Addr()); !slices.Equal(holders, []string{active.Name}) {
		t.Errorf("the address went from %s to %v", active.Name, holders)
	}

	l = s.startLoad(t)
	died := time.Now()
	if err := active.Daemon().Kill(); err != nil {
		t.Fatal(err)
	}
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.record("daemon dies", "not back: from its death to the move", time.Since(died), nil)
	l.waitForFlow(t, time.Now())
	webapp, _, broken = l.stop(t)
	s.record("daemon dies", "not back: longest time without an answer", webapp.outage, nil)
	checkNothingLost(t, webapp, broken)
	s.checkFailedMonitor(t, active)
	if err := active.Daemon().Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// monitored waits for two monitors of the cluster to pass on the balancer.
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

// failedMonitor wants Pacemaker to have had the monitor's own word that the cluster failed, and a stop that succeeded.
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
		return strings.HasPrefix(f.Operation, "cluster-webapp_monitor") && f.Machine == b.Name && f.Exit == "error" && f.Status == crm.Complete
	}) || slices.ContainsFunc(state.Failures, func(f crm.Failure) bool { return strings.Contains(f.Operation, "_stop_") }) {
		t.Errorf("want a monitor of cluster-webapp on %s that said error in time, and no stop that failed; Pacemaker saw %+v", b.Name, state.Failures)
	}
	if !slices.Contains(cluster.Online(state), b.Name) {
		t.Fatalf("%s is not online any more: %+v", b.Name, state.Machines)
	}
}

// daemonHangs stops lb balance where the addresses are without ending it.
func (s *suite) daemonHangs(t *testing.T) {
	active := s.restore(t)
	l := s.startLoad(t)
	hung := time.Now()
	if err := active.Daemon().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.record("daemon hangs", "from then to the move", time.Since(hung), nil)
	l.waitForFlow(t, time.Now())
	webapp, _, broken := l.stop(t)
	s.record("daemon hangs", "longest time without an answer", webapp.outage, nil)
	checkNothingLost(t, webapp, broken)
	eventually(t, fastPoll, "the cluster is out of the kernel there", func() (bool, string) {
		w := active.Weights(t.Context())
		return w == "", w
	})
	s.checkFailedMonitor(t, active)
	if err := active.Daemon().Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// split cuts the balancer with the addresses off from everybody. Nobody can switch it off, as Pacemaker is told not to try: what is seen is
// what it does by itself.
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
	eventually(t, fastPoll, "the balancer without a majority has stopped its cluster and given up the address", func() (bool, string) {
		w, holders := active.Weights(t.Context()), s.cluster.Holders(t.Context(), cluster.Webapp.Addr())
		return w == "" && !slices.Contains(holders, active.Name), fmt.Sprintf("weights %q, address on %v", w, holders)
	})
	s.record("split", "from the cut to the end of the cluster there", time.Since(cut), nil)
	s.waitForMove(t, active, cluster.Webapp.Addr())
	s.waitForMove(t, active, cluster.Baseline.Addr())
	l.waitForFlow(t, time.Now())
	healed := time.Now()
	if err := active.Host().Plug(); err != nil {
		t.Fatal(err)
	}
	s.waitOnline(t)
	s.waitServing(t)
	s.record("split", "from healing to the cluster on all three", time.Since(healed), nil)
	for _, address := range []netip.Addr{cluster.Webapp.Addr(), cluster.Baseline.Addr()} {
		answering, err := s.cluster.ARPResponders(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if holders := s.cluster.Holders(t.Context(), address); len(answering) != 1 || !slices.Equal(answering, holders) {
			t.Errorf("%s: %v answer ARP, %v have it", address, answering, holders)
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

//go:build lab

package e2e

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// agentAction runs the resource agent for webapp as Pacemaker would and returns its exit status, and the processor time that it took, in
// seconds of the lab's slow clock.
func agentAction(t *testing.T, s *testbed.Site, action string) (status int, seconds float64) {
	t.Helper()
	const script = `TIMEFORMAT='%U %S'; { time /run/bigbrother "$0" >/dev/null 2>&1; } 2>/run/spent; echo $? $(cat /run/spent)`
	out := labtest.Run(t, s.BalancerHost, "env", "OCF_RESKEY_cluster=webapp", "OCF_RESKEY_config=/run/lb.toml", "bash", "-c", script, action)
	fields := strings.Fields(out)
	if len(fields) != 3 {
		t.Fatalf("%s: %q", action, out)
	}
	status, err := strconv.Atoi(fields[0])
	for _, f := range fields[1:] {
		part, partErr := strconv.ParseFloat(f, 64)
		seconds += part
		err = errors.Join(err, partErr)
	}
	if err != nil {
		t.Fatalf("%s: %q: %v", action, out, err)
	}
	return status, seconds
}

// TestResourceAgentByItsOwnTester has the tester of Debian's resource-agents judge the agent, its meta-data against their schema among the
// rest, and then measures what each action costs.
func TestResourceAgentByItsOwnTester(t *testing.T) {
	s := stage(t, nil)
	settled(t, s, 100)
	link(t, s)
	out, err := s.BalancerHost.Run(t.Context(), "ocf-tester", "-n", "webapp", "-o", "cluster=webapp", "-o", "config=/run/lb.toml", "/run/bigbrother")
	if err != nil || !strings.Contains(out, "/run/bigbrother passed all tests") {
		t.Fatalf("ocf-tester: %v\n%s", err, out)
	}
	// 50 ms on a machine of its own; guest code is 10 to 20 times slower.
	const most = 1.0
	for _, a := range []struct {
		action string
		want   int
	}{
		{"meta-data", 0}, {"validate-all", 0}, {"monitor", 7}, {"start", 0}, {"start", 0}, {"monitor", 0}, {"reload", 0}, {"reload-agent", 0},
		{"stop", 0}, {"stop", 0}, {"monitor", 7},
	} {
		status, seconds := agentAction(t, s, a.action)
		t.Logf("%s: status %d, %.3f s of processor time in the lab", a.action, status, seconds)
		if status != a.want || seconds > most {
			t.Errorf("%s: status %d after %.3f s of processor time, want %d and at most %.1f s", a.action, status, seconds, a.want, most)
		}
	}
}

// TestBalancerThatHungWhileItsClusterWasStoppedLeavesItStopped wakes a balancer after the agent took its cluster out of the kernel. What the agent
// asked waits in the socket all the time, and counts before the balancer compares its table with the kernel's.
func TestBalancerThatHungWhileItsClusterWasStoppedLeavesItStopped(t *testing.T) {
	s := stage(t, nil)
	settled(t, s, 100)
	link(t, s)
	if err := s.Balancer.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if status, _ := agentAction(t, s, "stop"); status != 0 {
		t.Errorf("stop with the balancer hung: status %d", status)
	}
	if err := s.Balancer.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, "the balancer has its cluster stopped", func() (bool, string) {
		state := lb(t, s, s.BalancerHost, "ctl", "cluster", "list")
		return strings.Contains(state, "Stopped:\n- webapp"), state
	})
	if status, _ := agentAction(t, s, "monitor"); status != 7 {
		t.Errorf("monitor after that: status %d, want 7; the balancer said:\n%s", status, s.Balancer.Log())
	}
	if strings.Contains(s.Balancer.Log(), "drift") {
		t.Errorf("the balancer put the cluster back before it read that it is to stop it:\n%s", s.Balancer.Log())
	}
}

// link gives the lb under test the agent's name.
func link(t *testing.T, s *testbed.Site) {
	t.Helper()
	if err := s.BalancerHost.Do(func() error { return os.Symlink(binary(t), "/run/bigbrother") }); err != nil {
		t.Fatal(err)
	}
}

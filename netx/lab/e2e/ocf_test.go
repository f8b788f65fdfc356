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

// runAction runs the resource agent for webapp as Pacemaker would. It returns the exit status and the processor time in seconds of the
// lab's slow clock.
func runAction(t *testing.T, s *testbed.Site, action string) (status int, seconds float64) {
	t.Helper()
	const script = `TIMEFORMAT='%U %S'; { time /run/bigbrother "$0" >/dev/null 2>&1; } 2>/run/spent; echo $? $(cat /run/spent)`
	out := labtest.Run(t, s.BalancerHost,
		"env", "OCF_RESKEY_cluster=webapp", "OCF_RESKEY_config=/run/lb.toml", "bash", "-c", script, action)
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

// TestResourceAgentPassesOCFTester runs ocf-tester of Debian's resource-agents, which also checks the metadata against their schema, and
// then measures the cost of each action.
func TestResourceAgentPassesOCFTester(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	linkResourceAgent(t, s)
	out, err := s.BalancerHost.Run(t.Context(),
		"ocf-tester", "-n", "webapp", "-o", "cluster=webapp", "-o", "config=/run/lb.toml", "/run/bigbrother")
	if err != nil || !strings.Contains(out, "/run/bigbrother passed all tests") {
		t.Fatalf("ocf-tester: %v\n%s", err, out)
	}
	// 50 ms on real hardware; guest code is 10 to 20 times slower.
	const most = 1.0
	for _, a := range []struct {
		action string
		want   int
	}{
		{"meta-data", 0}, {"validate-all", 0}, {"monitor", 7}, {"start", 0}, {"start", 0}, {"monitor", 0},
		{"reload", 0}, {"reload-agent", 0},
		{"stop", 0}, {"stop", 0}, {"monitor", 7},
	} {
		status, seconds := runAction(t, s, a.action)
		t.Logf("%s: status %d, %.3f s of processor time in the lab", a.action, status, seconds)
		if status != a.want || seconds > most {
			t.Errorf("%s: status %d after %.3f s of processor time, want %d and at most %.1f s", a.action, status, seconds, a.want, most)
		}
	}
}

// TestResumedBalancerKeepsAStoppedClusterStopped resumes a hung balancer after the resource agent removed its cluster from the kernel. The
// agent's request waits in the socket; the balancer must handle it before it reconciles the kernel's table.
func TestResumedBalancerKeepsAStoppedClusterStopped(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	linkResourceAgent(t, s)
	if err := s.Balancer.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if status, _ := runAction(t, s, "stop"); status != 0 {
		t.Errorf("stop with the balancer hung: status %d", status)
	}
	if err := s.Balancer.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "the balancer reports the cluster as stopped", func() (bool, string) {
		state := runLB(t, s, s.BalancerHost, "ctl", "cluster", "list")
		return strings.Contains(state, "Stopped:\n- webapp"), state
	})
	if status, _ := runAction(t, s, "monitor"); status != 7 {
		t.Errorf("monitor after that: status %d, want 7; the balancer logged:\n%s", status, s.Balancer.Log())
	}
	if strings.Contains(s.Balancer.Log(), "drift") {
		t.Errorf("the balancer restored the cluster before it handled the stop:\n%s", s.Balancer.Log())
	}
}

// linkResourceAgent links the lb under test to the resource agent's name.
func linkResourceAgent(t *testing.T, s *testbed.Site) {
	t.Helper()
	if err := s.BalancerHost.Do(func() error { return os.Symlink(binary(t), "/run/bigbrother") }); err != nil {
		t.Fatal(err)
	}
}

//go:build lab

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// expectRefusal runs a command on load01 that must fail with this exit status and a message with these words, and change nothing.
func expectRefusal(t *testing.T, s *testbed.Site, command string, status int, words ...string) {
	t.Helper()
	before := kernelState(t, s)
	_, err := s.BalancerHost.Run(t.Context(), "sh", "-c", command)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		t.Fatalf("%s: %v, want exit status %d", command, err, status)
	}
	message := err.Error()
	for _, word := range words {
		if !strings.Contains(message, word) {
			t.Errorf("%s: the message lacks %q:\n%s", command, word, message)
		}
	}
	if after := kernelState(t, s); after != before {
		t.Errorf("%s changed the kernel from\n%s\nto\n%s", command, before, after)
	}
}

// kernelState returns the whole state of IPVS and nftables on load01.
func kernelState(t *testing.T, s *testbed.Site) string {
	t.Helper()
	return labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn") + labtest.Run(t, s.BalancerHost, "nft", "list", "ruleset")
}

func TestRefusedStartsExplainAndChangeNothing(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	good := labtest.Run(t, s.BalancerHost, "cat", "/run/lb.toml")
	elsewhere := strings.Replace(good, "[balancer]\n", "[balancer]\nlisten = \"127.0.0.1:9299\"\ncontrol = \"/run/lb/other.sock\"\n", 1)
	lb := binary(t)

	t.Run("another balancer is running", func(t *testing.T) {
		expectRefusal(t, s, lb+" balance -c /run/lb.toml", 1, "/run/lb/balancer.sock", "another")
	})
	t.Run("another balancer is running with another socket", func(t *testing.T) {
		writeConfig(t, s, elsewhere)
		expectRefusal(t, s, lb+" balance -c /run/lb.toml", 1, "another lb balance runs in this network namespace")
	})
	if err := s.Balancer.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Run("port in use", func(t *testing.T) {
		listener, err := s.BalancerHost.Listen(t.Context(), "tcp", "127.0.0.1:9299")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		writeConfig(t, s, elsewhere)
		expectRefusal(t, s, lb+" balance -c /run/lb.toml", 1, "127.0.0.1:9299", "balancer.listen")
	})
	t.Run("broken config", func(t *testing.T) {
		writeConfig(t, s, strings.Replace(good, "fwmark         = 7", "fwmark = 0\nramp_up = 3", 1))
		expectRefusal(t, s, lb+" balance -c /run/lb.toml", 78, "/run/lb.toml:", "clusters.webapp.fwmark", "ramp_up_time")
	})
	t.Run("no config", func(t *testing.T) {
		expectRefusal(t, s, lb+" balance -c /run/none.toml", 78, "/run/none.toml")
	})
	t.Run("no privilege", func(t *testing.T) {
		writeConfig(t, s, good)
		const unprivileged = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "
		expectRefusal(t, s, unprivileged+lb+" balance --dry-run -c /run/lb.toml", 77, "CAP_NET_ADMIN")
	})
}

func writeConfig(t *testing.T, s *testbed.Site, text string) {
	t.Helper()
	if err := s.WriteConfig([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestDryRunPrintsThePlanAndChangesNothing(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	labtest.Run(t, s.BalancerHost, "ipvsadm", strings.Fields("-A -f 8 -s rr")...)
	if err := s.Balancer.Stop(); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, s.BalancerHost, "ipvsadm", strings.Fields("-e -f 7 -r 10.0.0.2 -i -w 17")...)
	before := kernelState(t, s)
	plan := runLB(t, s, s.BalancerHost, "balance", "--dry-run")
	if !strings.Contains(plan, "10.0.0.2") || !strings.Contains(plan, "17 → 100") {
		t.Errorf("the plan does not show that 10.0.0.2 goes from weight 17 to 100:\n%s", plan)
	}
	if strings.Contains(plan, "10.0.0.1 ") || strings.Contains(plan, "mark 8") {
		t.Errorf("the plan shows more than the differences:\n%s", plan)
	}
	if after := kernelState(t, s); after != before {
		t.Errorf("the dry run changed the kernel from\n%s\nto\n%s", before, after)
	}
}

// TestOCFActionsOnOneMachine runs the resource agent's actions as Pacemaker would.
func TestOCFActionsOnOneMachine(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	linkResourceAgent(t, s)
	ocf := func(action string, want int) {
		t.Helper()
		_, err := s.BalancerHost.Run(t.Context(),
			"env", "OCF_RESKEY_cluster=webapp", "OCF_RESKEY_config=/run/lb.toml", "/run/bigbrother", action)
		var exit *exec.ExitError
		got := 0
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: status %d, want %d: %v", action, got, want, err)
		}
	}
	inKernel := func() bool { return strings.Contains(labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn"), "-A -f 7") }
	ocf("validate-all", 0)
	ocf("monitor", 0)
	ocf("start", 0)
	ocf("stop", 0)
	if inKernel() {
		t.Error("the kernel still forwards after stop")
	}
	ocf("monitor", 7)
	ocf("stop", 0)
	ocf("start", 0)
	if got := fmt.Sprint(readWeights(t, s)); got != "map[10.0.0.1:100 10.0.0.2:100 10.0.0.3:100]" {
		t.Errorf("weights after start returned: %s", got)
	}
	ocf("monitor", 0)
	for _, c := range []struct {
		name  string
		end   func() error
		mends func() error
	}{
		{"hung", func() error { return s.Balancer.Signal(syscall.SIGSTOP) }, func() error {
			return errors.Join(s.Balancer.Kill(), s.Balancer.Start(t.Context()))
		}},
		{"dead", s.Balancer.Kill, func() error { return nil }},
	} {
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
		ocf("monitor", 1)
		ocf("stop", 0)
		if inKernel() {
			t.Errorf("the kernel still forwards after a stop with the daemon %s", c.name)
		}
		if err := c.mends(); err != nil {
			t.Fatal(err)
		}
		if c.name == "hung" { // autostart starts the cluster again, as after a boot
			waitForWeight(t, s, 100)
		}
	}
	ocf("monitor", 7)
}

//go:build lab

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
)

// onFailureConfig is the lb.toml of load01, with keys of the cluster and its virtual IPs.
func onFailureConfig(keys, protocol string, port int) string {
	return fmt.Sprintf(`
[balancer]
set_sysctls = true

[clusters.web]
fwmark         = 7
scheduler      = "wrr"
check_interval = "1s"
ramp_up_time   = "0s"
autostart      = true
%s
vips  = [ { address = "192.0.2.7", protocol = %q, ports = [%d] } ]
nodes = [ { address = "192.0.2.1", path = "/" }, { address = "192.0.2.2", path = "/" } ]
`, keys, protocol, port)
}

// newOnFailure builds a balancer with two nodes, and returns the nodes by name.
func newOnFailure(t *testing.T, config string) (*flows, map[string]*flowNode) {
	t.Helper()
	f := newFlows(t, map[string]int{"load01": 11, "app01": 1, "app02": 2})
	nodes := map[string]*flowNode{
		"app01": newFlowNode(t, f.hosts["app01"], "192.0.2.1"),
		"app02": newFlowNode(t, f.hosts["app02"], "192.0.2.2"),
	}
	f.start(t, "load01", config, 2)
	return f, nodes
}

// other is the node of newOnFailure that is not the given one.
func other(node string) string {
	return map[string]string{"app01": "app02", "app02": "app01"}[node]
}

// waitForNode waits until ipvsadm -Sn shows a node with a weight; -1: not at all.
func (f *flows) waitForNode(t *testing.T, n *flowNode, weight int) {
	t.Helper()
	line := fmt.Sprintf("-r %s:0 -i -w %d", n.address, weight)
	f.waitForTable(t, "load01", fmt.Sprintf("%s with weight %d", n.Name(), weight), func(saved string) bool {
		if weight < 0 {
			return !strings.Contains(saved, "-r "+n.address+":0")
		}
		return strings.Contains(saved, line)
	})
}

// askUntil asks from one port until a node answers, and returns how many questions were lost before.
func (f udpFlow) askUntil(t *testing.T, node string) (lost int) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for time.Now().Before(deadline) {
		switch got := f.ask(t, 300*time.Millisecond); got {
		case node:
			return lost
		case "":
			lost++
		default:
			t.Fatalf("%s answered", got)
		}
	}
	t.Fatalf("no answer of %s to %d questions", node, lost)
	return lost
}

// TestAUDPClientLeavesADeadNode asks again and again from one source port, and takes the node that answers off the network.
func TestAUDPClientLeavesADeadNode(t *testing.T) {
	f, nodes := newOnFailure(t, onFailureConfig("", "udp", 53))
	client := f.newUDPFlow(t, 5353)
	first := client.ask(t, timeout)
	dead, alive := nodes[first], other(first)
	if dead == nil {
		t.Fatalf("%q answered", first)
	}
	if err := dead.Unplug(); err != nil {
		t.Fatal(err)
	}
	unplugged := time.Now()
	lost := client.askUntil(t, alive) // it keeps asking, so the kernel never forgets the flow
	t.Logf("%d questions lost in %s", lost, time.Since(unplugged).Round(time.Millisecond))
	f.waitForNode(t, dead, -1)
	for range 5 {
		if got := client.ask(t, timeout); got != alive {
			t.Errorf("then %q answered", got)
		}
	}
	status := f.ctl(t, "cluster", "status", "web")
	if !strings.Contains(status, "removed from the kernel's table until it is back (on_failure = remove)") {
		t.Errorf("the status does not say that it was removed:\n%s", status)
	}
	why := f.ctl(t, "why", "web", dead.address)
	if !strings.Contains(why, "on failure") || !strings.Contains(why, "not in the kernel's table") {
		t.Errorf("why says\n%s", why)
	}
	if events := f.ctl(t, "events"); !strings.Contains(events, "remove node "+dead.address) {
		t.Errorf("no event of the removal:\n%s", events)
	}
	t.Log("\n" + status)
	if err := dead.Plug(); err != nil {
		t.Fatal(err)
	}
	f.waitForNode(t, dead, 100)
	if got := client.ask(t, timeout); got != alive {
		t.Errorf("when the dead node is back, %q answers", got)
	}
}

// TestAPlannedDrainKeepsAUDPFlow drains the node that answers, then forces its agent down, then stops its machine.
func TestAPlannedDrainKeepsAUDPFlow(t *testing.T) {
	f, nodes := newOnFailure(t, onFailureConfig("", "udp", 53))
	client := f.newUDPFlow(t, 5353)
	first := client.ask(t, timeout)
	stays := func(when string) {
		t.Helper()
		f.waitForNode(t, nodes[first], 0)
		for range 5 {
			if got := client.ask(t, timeout); got != first {
				t.Errorf("%s, %q answers, want %s", when, got, first)
			}
		}
	}
	f.ctl(t, "drain", "web", nodes[first].address, "-r", "disk")
	stays("drained")
	f.ctl(t, "undrain", "web", nodes[first].address)
	f.waitForNode(t, nodes[first], 100)
	nodes[first].report("X-Health", "0", "X-Health-Forced", "down")
	stays("forced down")
	if err := nodes[first].Unplug(); err != nil {
		t.Fatal(err)
	}
	f.waitForNode(t, nodes[first], -1)
	client.askUntil(t, other(first))
}

// TestOnFailureOfTCPConnections fails the check of a node that still answers. "drain" keeps its open connection, "remove" resets it.
func TestOnFailureOfTCPConnections(t *testing.T) {
	for _, c := range []struct {
		policy string
		weight int // in the kernel
	}{{"drain", 0}, {"remove", -1}} {
		t.Run(c.policy, func(t *testing.T) {
			f, nodes := newOnFailure(t, onFailureConfig(fmt.Sprintf("on_failure = %q", c.policy), "tcp", 80))
			ask := f.openLines(t)
			node, err := ask()
			if err != nil {
				t.Fatal(err)
			}
			nodes[node].report("X-Health", "0")
			f.waitForNode(t, nodes[node], c.weight)
			again, err := ask()
			switch {
			case c.policy == "drain" && (again != node || err != nil):
				t.Errorf("the open connection got %q, %v", again, err)
			case c.policy == "remove" && (err == nil || !strings.Contains(err.Error(), "reset")):
				t.Errorf("the open connection got %q, %v; want a reset", again, err)
			}
			ask = f.openLines(t)
			if again, err := ask(); again != other(node) || err != nil {
				t.Errorf("a new connection got %q, %v", again, err)
			}
			nodes[node].report("X-Health", "100")
			f.waitForNode(t, nodes[node], 100)
		})
	}
}

// TestTimeoutsAreInTheKernel sets two of the three timeouts, and repairs these when another program sets all.
func TestTimeoutsAreInTheKernel(t *testing.T) {
	f, _ := newOnFailure(t, onFailureConfig("", "udp", 53)+"[balancer.timeouts]\ntcp = \"1h\"\nudp = \"90s\"\n")
	want := func(timeouts string) {
		t.Helper()
		labtest.Eventually(t, timeout, "the timeouts are "+timeouts, func() (bool, string) {
			got := labtest.Run(t, f.hosts["load01"], "ipvsadm", "-l", "--timeout")
			return strings.Contains(got, "Timeout (tcp tcpfin udp): "+timeouts+"\n"), got + f.log.String()
		})
	}
	want("3600 120 90")
	labtest.Run(t, f.hosts["load01"], "ipvsadm", "--set", "60", "60", "60")
	want("3600 60 90") // lb does not set tcp_fin
	if events := f.ctl(t, "events"); !strings.Contains(events, "timeout of UDP 1m0s → 1m30s") {
		t.Errorf("no event of the repair:\n%s", events)
	}
}

// TestARemovalNeedsExpireNodestConn shows what lb warns of: with the kernel's default, what a client sends to a removed node is dropped.
func TestARemovalNeedsExpireNodestConn(t *testing.T) {
	f, nodes := newOnFailure(t, strings.Replace(onFailureConfig("", "udp", 53), "set_sysctls = true", "set_sysctls = false", 1))
	if log := f.log.String(); !strings.Contains(log, "what clients send to a node that failed and was removed is dropped") {
		t.Errorf("no warning in the log:\n%s", log)
	}
	client := f.newUDPFlow(t, 5353)
	first := client.ask(t, timeout)
	if err := nodes[first].Unplug(); err != nil {
		t.Fatal(err)
	}
	f.waitForNode(t, nodes[first], -1)
	for range 5 {
		if got := client.ask(t, 300*time.Millisecond); got != "" {
			t.Errorf("%s answers with expire_nodest_conn = 0: the setting is not needed", got)
		}
	}
	setSysctls(t, f.hosts["load01"], "net.ipv4.vs.expire_nodest_conn", "1")
	client.askUntil(t, other(first))
}

//go:build lab

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
)

// TestForwarding sends packets through each forwarding method over IPv4 and IPv6 with TCP, UDP and SCTP. It then moves a virtual IP during
// an open connection, and runs a balancer with CAP_NET_ADMIN alone through its lifecycle.
func TestForwarding(t *testing.T) {
	f := newForwarding(t)
	waitForAllWeights(t, f, f.load01)
	waitForAllWeights(t, f, f.load02)
	for _, m := range methods() {
		for _, address := range []string{m.IPv4, m.IPv6} {
			for _, protocol := range []string{"tcp", "udp", "sctp"} {
				t.Run(m.Name+" "+address+" "+protocol, func(t *testing.T) { f.testMethod(t, m, address, protocol) })
			}
		}
	}
	t.Run("only nat responses pass through the balancer", f.testReturnPath)
	t.Run("the downpage is served for unreachable nodes", f.testDownpage)
	t.Run("connections survive a takeover", f.testTakeover)
	t.Run("CAP_NET_ADMIN alone is enough", f.testUnprivileged)
}

func (f *forwarding) testMethod(t *testing.T, m method, address, protocol string) {
	saved := labtest.Run(t, f.load01, "ipvsadm", "-Sn")
	for _, node := range []string{"10.0.0.1:0", "[fd00::2]:0"} {
		if !strings.Contains(saved, "-r "+node+" "+m.ipvsadm+" -w 100") {
			t.Errorf("ipvsadm shows no node %s with %s:\n%s", node, m.ipvsadm, saved)
		}
	}
	by := map[string]int{}
	for range 6 {
		answer, err := f.request(t, protocol, address)
		if err != nil {
			t.Fatalf("%v\n%s", err, labtest.Run(t, f.load01, "ipvsadm", "-Lnc"))
		}
		by[answer]++
	}
	if by["app01"] != 3 || by["app02"] != 3 {
		t.Errorf("responses by node: %v, want three from each", by)
	}
}

// testReturnPath checks how many packets return through the balancer. The kernel updates its statistics every two seconds.
func (f *forwarding) testReturnPath(t *testing.T) {
	for _, m := range methods() {
		what := fmt.Sprintf("packets of %s are counted; returning through the balancer: %t", m.Name, m.returnsThroughBalancer)
		labtest.Eventually(t, timeout, what, func() (bool, string) {
			out := labtest.Run(t, f.load01, "ipvsadm", "-Ln", "--stats", "--exact", "-f", fmt.Sprint(m.Mark))
			for line := range strings.Lines(out) {
				// FWM mark, connections, packets in, packets out, bytes in, bytes out
				words := strings.Fields(line)
				if len(words) >= 6 && words[0] == "FWM" && (words[3] == "0" || (words[4] != "0") != m.returnsThroughBalancer) {
					return false, out
				}
			}
			return true, out
		})
	}
}

// testDownpage requests lb's own downpage over IPv4 and IPv6 and expects status 503.
func (f *forwarding) testDownpage(t *testing.T) {
	for _, address := range []string{unreachable.IPv4, unreachable.IPv6} {
		labtest.Eventually(t, timeout, "the downpage is served at "+address, func() (bool, string) {
			conn, err := f.client.Dial(t.Context(), "tcp", net.JoinHostPort(address, "80"))
			if err != nil {
				return false, err.Error() + "\n" + labtest.Run(t, f.load01, "ipvsadm", "-Ln") + f.log.String()
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				return false, err.Error()
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return false, err.Error()
			}
			defer answer.Body.Close()
			return answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "30", answer.Status
		})
	}
}

// testTakeover synchronizes a connection to load02 and continues it there.
func (f *forwarding) testTakeover(t *testing.T) {
	daemons := labtest.Run(t, f.load01, "ipvsadm", "-L", "--daemon")
	for _, want := range []string{"master sync daemon (mcast=eth1, syncid=7", "backup sync daemon (mcast=eth1, syncid=7"} {
		if !strings.Contains(daemons, want) {
			t.Errorf("no %q in\n%s", want, daemons)
		}
	}
	m := methods()[0]
	conn, err := f.client.Dial(t.Context(), "tcp", net.JoinHostPort(m.IPv4, "80"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /lines HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	exchange := func() string {
		t.Helper()
		if _, err := io.WriteString(conn, "who?\n"); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("%v\n%s", err, labtest.Run(t, f.load02, "ipvsadm", "-Lnc"))
		}
		return line
	}
	node := exchange()
	port := conn.LocalAddr().(*net.TCPAddr).Port
	known := fmt.Sprintf("192.0.2.100:%d ", port)
	labtest.Eventually(t, timeout, "load02 knows the connection", func() (bool, string) {
		exchange() // the kernel synchronizes a connection only after some packets
		list := labtest.Run(t, f.load02, "ipvsadm", "-Lnc")
		at := strings.Index(list, known)
		return at >= 0 && strings.Contains(list[:at], "ESTABLISHED"), list
	})
	f.moveVIPs(t, m, f.load01, f.load02)
	for range 5 {
		if again := exchange(); again != node {
			t.Errorf("%s responds on a connection to %s", again, node)
		}
	}
	f.moveVIPs(t, m, f.load02, f.load01)
}

// testUnprivileged takes load01's balancer, which has CAP_NET_ADMIN alone, through stop, start, reload and exit.
func (f *forwarding) testUnprivileged(t *testing.T) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.daemon.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000001000", "CapEff:\t0000000000001000", "CapBnd:\t0000000000001000",
	} {
		if !strings.Contains(string(status), want+"\n") {
			t.Fatalf("no %q in\n%s", want, status)
		}
	}
	if got := strings.TrimSpace(labtest.Run(t, f.load01, "cat", "/proc/sys/net/ipv4/vs/expire_nodest_conn")); got != "1" {
		t.Errorf("expire_nodest_conn is %s: set_sysctls had no effect", got)
	}
	f.ctl(t, "cluster", "stop", "nat")
	if saved := labtest.Run(t, f.load01, "ipvsadm", "-Sn"); strings.Contains(saved, "-f 13 ") {
		t.Errorf("after a stop:\n%s", saved)
	}
	f.ctl(t, "cluster", "start", "nat")
	waitForAllWeights(t, f, f.load01)
	text := labtest.Run(t, f.load01, "cat", forwardingConfigPath)
	text = strings.Replace(text, "autostart", "max_weight = 40\npersistence = \"1m\"\nautostart", 1)
	text = strings.Replace(text, `sync = { interface = "eth1", id = 7 }`, "", 1)
	if err := f.load01.WriteFile(forwardingConfigPath, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.daemon.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "the new config is in the kernel", func() (bool, string) {
		saved, daemons := labtest.Run(t, f.load01, "ipvsadm", "-Sn"), labtest.Run(t, f.load01, "ipvsadm", "-L", "--daemon")
		return strings.Count(saved, " -w 40") == 4 && strings.Count(saved, " -p 60") == 2 && !strings.Contains(daemons, "mcast"),
			saved + daemons + f.log.String()
	})
	before := labtest.Run(t, f.load01, "ipvsadm", "-Sn")
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := f.daemon.Stop(ctx); err != nil {
		t.Errorf("%v\n%s", err, f.log.String())
	}
	if after := labtest.Run(t, f.load01, "ipvsadm", "-Sn"); after != before {
		t.Errorf("stopping lb balance changed the table from\n%s\nto\n%s", before, after)
	}
}

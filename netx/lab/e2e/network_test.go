//go:build lab

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// atOnce limits how long it may take until lb shows what the kernel has told it; a look by itself takes ten seconds.
const atOnce = 5 * time.Second

// statusUntil waits until `cluster status` contains all words, and none of those after "!", and returns how long that took.
func statusUntil(t *testing.T, s *testbed.Site, words ...string) time.Duration {
	t.Helper()
	began := time.Now()
	labtest.Eventually(t, timeout, fmt.Sprintf("the status shows %q", words), func() (bool, string) {
		out := labtest.Run(t, s.BalancerHost, "env", "LB_CONFIG="+testbed.ConfigPath, binary(t), "ctl", "cluster", "status", "webapp")
		for _, word := range words {
			word, absent := strings.CutPrefix(word, "!")
			if strings.Contains(out, word) == absent {
				return false, out
			}
		}
		return true, ""
	})
	return time.Since(began)
}

// page returns what the balancer serves at a path.
func page(t *testing.T, s *testbed.Site, path string) string {
	t.Helper()
	resp, err := s.Balancer.Client().Get("http://lb" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// tryLB runs lb on the balancer and returns its output and exit status.
func tryLB(t *testing.T, s *testbed.Site, args string) string {
	t.Helper()
	return labtest.Run(t, s.BalancerHost, "sh", "-c",
		"LB_CONFIG="+testbed.ConfigPath+" "+binary(t)+" "+args+" 2>&1; echo exit status $?")
}

// answered reports whether a request to the virtual IP is answered.
func answered(t *testing.T, s *testbed.Site) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	conn, err := s.Client.Dial(ctx, "tcp", fmt.Sprintf("%s:%d", testbed.VIP, testbed.Port))
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /transactions HTTP/1.0\r\n\r\n"); err != nil {
		return false
	}
	_, err = http.ReadResponse(bufio.NewReader(conn), nil)
	return err == nil
}

// TestVirtualIPsAreKnown takes the virtual IP from the active balancer, renames its interface, and routes the virtual IP to the machine
// without an address. The client's requests show that what lb says is true.
func TestVirtualIPsAreKnown(t *testing.T) {
	s := newSite(t, nil)
	waitForWeight(t, s, 100)
	const onIt, vip = "virtual IP 204.109.13.7 on eth10\n", "204.109.13.7/32"
	ip := func(line string) { t.Helper(); labtest.Run(t, s.BalancerHost, "ip", strings.Fields(line)...) }
	fine := func(what, place string) {
		t.Helper()
		took := statusUntil(t, s, place, "!problem")
		t.Logf("%s: shown after %s", what, took.Round(time.Millisecond))
		if !answered(t, s) {
			t.Errorf("%s: no response, although the status shows no problem", what)
		}
	}
	fine("at first", onIt)

	ip("address del " + vip + " dev eth10")
	took := statusUntil(t, s, "problem: virtual IP 204.109.13.7 ")
	t.Logf("vanished: shown after %s", took.Round(time.Millisecond))
	if took > atOnce {
		t.Errorf("the status shows that the virtual IP has vanished after %s", took)
	}
	if answered(t, s) {
		t.Error("a response, although the virtual IP is gone")
	}
	for _, want := range []string{
		`lb_balancer_vip_present{cluster="webapp",interface="eth10",vip="204.109.13.7"} 0`,
		`lb_balancer_cluster_trouble{cluster="webapp"} 1`,
	} {
		if got := page(t, s, "/metrics"); !strings.Contains(got, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if events := tryLB(t, s, "ctl events --cluster webapp"); !strings.Contains(events, "problem found: virtual IP 204.109.13.7 ") {
		t.Errorf("no event:\n%s", events)
	}
	statusUntil(t, s, "virtual IP 204.109.13.7 on no machine\n", "problem: virtual IP 204.109.13.7 is on no machine")

	ip("address add " + vip + " dev lo") // the balancer's eth10 answers for it
	fine("on another interface", "virtual IP 204.109.13.7 on lo\n")
	ip("address del " + vip + " dev lo")
	ip("route add local " + vip + " dev lo")
	fine("routed to the machine", "virtual IP 204.109.13.7 here, by a local route\n")
	ip("route del local " + vip + " dev lo")
	statusUntil(t, s, "problem: virtual IP 204.109.13.7 ")
	ip("address add " + vip + " dev eth10")
	fine("back", onIt)

	ip("link set eth10 down")
	statusUntil(t, s, "interface eth10 is down")
	ip("link set eth10 name wan0")
	ip("link set wan0 up")
	statusUntil(t, s, "problem: vips.interface: interface eth10 is now named wan0: packets for 204.109.13.7 get no mark",
		"virtual IP 204.109.13.7 on wan0\n")
	if answered(t, s) {
		t.Error("a response, although no rule matches the interface")
	}
	if out := tryLB(t, s, "ctl check-config"); !strings.Contains(out, `clusters.webapp.vips[0].interface = "eth10": this machine has no`) ||
		!strings.HasSuffix(out, "exit status 78\n") {
		t.Errorf("check-config:\n%s", out)
	}
	if out := tryLB(t, s, "ctl doctor"); !strings.Contains(out, "bad:  vips.interface: this machine has no interface eth10") {
		t.Errorf("doctor:\n%s", out)
	}
	ip("link set wan0 down")
	ip("link set wan0 name eth10")
	ip("link set eth10 up")
	fine("named as before", onIt)
	if out := tryLB(t, s, "ctl check-config"); !strings.HasSuffix(out, "exit status 0\n") {
		t.Errorf("check-config:\n%s", out)
	}
}

// TestNATAndSyncNeedTheNetwork takes from two balancers what nat and connection synchronisation silently need.
func TestNATAndSyncNeedTheNetwork(t *testing.T) {
	f := newForwarding(t)
	waitForAllWeights(t, f, f.load01)
	waitForAllWeights(t, f, f.load02)
	t.Run("a balancer that stands by has no problem", f.testStandby)
	t.Run("ip_forward is set again", f.testForwardingIsSet)
	t.Run("sync daemons start again on a new interface", f.testSyncInterface)
	t.Run("ip_forward 0 is a problem of nat", f.testForwardingIsTold)
}

// testStandby looks at the balancer that runs every cluster while the other one has the virtual IPs, and swaps the two.
func (f *forwarding) testStandby(t *testing.T) {
	m := methods()[0]
	shows := func(h *lab.Host, place string) {
		t.Helper()
		labtest.Eventually(t, timeout, h.Name()+" shows no problem, and the virtual IPs "+place, func() (bool, string) {
			out := labtest.Run(t, h, f.binary, "ctl", "cluster", "status", m.Name, "-c", forwardingConfigPath)
			return !strings.Contains(out, "problem") && strings.Contains(out, "virtual IP "+m.IPv4+" "+place+"\n") &&
				strings.Contains(out, "virtual IP "+m.IPv6+" "+place+"\n"), out
		})
	}
	shows(f.load01, "on eth0")
	shows(f.load02, "on another machine")
	f.moveVIPs(t, m, f.load01, f.load02)
	shows(f.load02, "on eth0")
	shows(f.load01, "on another machine")
	f.moveVIPs(t, m, f.load02, f.load01)
	shows(f.load01, "on eth0")
	shows(f.load02, "on another machine")
}

// natAnswers reports whether requests to both virtual IPs of the nat cluster are answered.
func (f *forwarding) natAnswers(t *testing.T) bool {
	t.Helper()
	for _, address := range []string{methods()[2].IPv4, methods()[2].IPv6} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		conn, err := f.client.Dial(ctx, "tcp", net.JoinHostPort(address, "80"))
		cancel()
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}

// testForwardingIsSet resets what lb set.
func (f *forwarding) testForwardingIsSet(t *testing.T) {
	for _, setting := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		setSysctls(t, f.load01, setting, "0")
		labtest.Eventually(t, atOnce, setting+" is 1 again", func() (bool, string) {
			value := strings.TrimSpace(labtest.Run(t, f.load01, "sysctl", "-n", setting))
			return value == "1", value + f.log.String()
		})
	}
	if !f.natAnswers(t) {
		t.Error("no response")
	}
	if log := f.log.String(); !strings.Contains(log, "another program changed the kernel settings") {
		t.Errorf("no drift in the log:\n%s", log)
	}
}

// testForwardingIsTold resets what lb must not set.
func (f *forwarding) testForwardingIsTold(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if err := f.daemon.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	text := labtest.Run(t, f.load01, "cat", forwardingConfigPath)
	if err := f.load01.WriteFile(forwardingConfigPath, []byte(strings.Replace(text, "set_sysctls = true", "", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	setSysctls(t, f.load01, "net.ipv4.ip_forward", "0")
	f.daemon = f.startBalancer(t, f.load01)
	const problem = "problem: net.ipv4.ip_forward is 0: the kernel drops what nodes reply"
	status := func(cluster string, told bool) {
		t.Helper()
		labtest.Eventually(t, timeout, fmt.Sprintf("the status of %s shows the problem: %t", cluster, told), func() (bool, string) {
			out := f.ctl(t, "cluster", "status", cluster)
			return strings.Contains(out, problem) == told, out
		})
	}
	status("nat", true)
	status("ipip", false)
	if f.natAnswers(t) {
		t.Error("a response, although the machine does not forward")
	}
	out := labtest.Run(t, f.load01, "sh", "-c", f.binary+" ctl doctor -c "+forwardingConfigPath+"; true")
	if !strings.Contains(out, "bad:  net.ipv4.ip_forward is 0, not 1: ") {
		t.Errorf("doctor:\n%s", out)
	}
	setSysctls(t, f.load01, "net.ipv4.ip_forward", "1")
	status("nat", false)
	if !f.natAnswers(t) {
		t.Error("no response, although the machine forwards")
	}
}

// testSyncInterface makes the interface of the sync daemons again, gives it another address, and sets it down and up. Each time the other
// balancer learns of new connections.
func (f *forwarding) testSyncInterface(t *testing.T) {
	make1 := func(h *lab.Host, number int) {
		t.Helper()
		for _, line := range []string{"link add link eth1 name sync0 type macvlan mode bridge",
			fmt.Sprintf("address add 10.77.0.%d/24 dev sync0", number), "link set sync0 up"} {
			labtest.Run(t, h, "ip", strings.Fields(line)...)
		}
	}
	for i, h := range []*lab.Host{f.load01, f.load02} {
		make1(h, 11+i)
		text := labtest.Run(t, h, "cat", forwardingConfigPath)
		text = strings.Replace(text, `interface = "eth1"`, `interface = "sync0"`, 1)
		if err := h.WriteFile(forwardingConfigPath, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		labtest.Run(t, h, f.binary, "ctl", "reload", "-c", forwardingConfigPath)
	}
	f.wantSync(t, "at first", f.load02)
	for _, c := range []struct {
		name   string
		change func(h *lab.Host, number int)
	}{
		{"made again", func(h *lab.Host, number int) {
			labtest.Run(t, h, "ip", "link", "del", "sync0")
			make1(h, number)
		}},
		{"another address", func(h *lab.Host, number int) {
			labtest.Run(t, h, "ip", "address", "flush", "dev", "sync0")
			labtest.Run(t, h, "ip", "address", "add", fmt.Sprintf("10.77.0.1%d/24", number), "dev", "sync0")
		}},
		{"down and up", func(h *lab.Host, _ int) {
			labtest.Run(t, h, "ip", "link", "set", "sync0", "down")
			labtest.Run(t, h, "ip", "link", "set", "sync0", "up")
		}},
	} {
		for i, h := range []*lab.Host{f.load01, f.load02} {
			c.change(h, 11+i)
			f.wantSync(t, c.name+" on "+h.Name(), f.load02)
		}
	}
	const told = "start the master sync daemon on sync0, id 7 again: sync0 was deleted and made again"
	if log := f.log.String(); !strings.Contains(log, told) {
		t.Errorf("no drift in the log:\n%s", log)
	}
	labtest.Run(t, f.load01, "ip", "link", "set", "sync0", "down")
	labtest.Eventually(t, timeout, "the status shows that connections are not synchronized", func() (bool, string) {
		out := f.ctl(t, "cluster", "status", "ipip")
		return strings.Contains(out, "problem: balancer.sync.interface: interface sync0 is down"), out
	})
	labtest.Run(t, f.load01, "ip", "link", "set", "sync0", "up")
	f.wantSync(t, "after all", f.load02)
}

// wantSync opens a connection and waits until another balancer knows it.
func (f *forwarding) wantSync(t *testing.T, when string, other *lab.Host) {
	t.Helper()
	began := time.Now()
	conn, err := f.client.Dial(t.Context(), "tcp", net.JoinHostPort(methods()[0].IPv4, "80"))
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /lines HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	known := fmt.Sprintf("192.0.2.100:%d ", conn.LocalAddr().(*net.TCPAddr).Port)
	labtest.Eventually(t, timeout, when+": "+other.Name()+" knows the connection", func() (bool, string) {
		if _, err := io.WriteString(conn, "who?\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		list := labtest.Run(t, other, "ipvsadm", "-Lnc")
		return strings.Contains(list, known), list + labtest.Run(t, f.load01, "cat", "/proc/net/igmp")
	})
	t.Logf("%s: a connection is known to %s after %s", when, other.Name(), time.Since(began).Round(time.Millisecond))
}

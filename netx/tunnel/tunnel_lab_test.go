//go:build lab

package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/tunnel"
)

const (
	// patience leaves room for an emulated processor.
	patience = 30 * time.Second
	// stateDir is the agent's default; each host has its own /var/lib.
	stateDir = "/var/lib/lb/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is client, balancer and app, with a tunnel interface on the balancer in place of IPVS.
type network struct{ client, balancer, app *lab.Host }

func build(t *testing.T) network {
	t.Helper()
	// Gives every host an ip6tnl0, as it has a tunl0.
	if out, err := exec.CommandContext(t.Context(), "modprobe", "ip6_tunnel").CombinedOutput(); err != nil {
		t.Fatalf("modprobe ip6_tunnel: %v: %s", err, out)
	}
	l := labtest.New(t)
	s := labtest.Switch(t, l, "lan")
	return network{
		client:   labtest.Host(t, l, s, "client", "10.9.0.9/24", "fd09::9/64"),
		balancer: labtest.Host(t, l, s, "load01", "10.9.0.1/24", "fd09::1/64"),
		app:      labtest.Host(t, l, s, "app01", "10.9.0.2/24", "fd09::2/64"),
	}
}

// tunnelTo routes the virtual IP from the client over the balancer through a tunnel to the app.
func (n network) tunnelTo(t *testing.T, vip string) {
	t.Helper()
	labtest.Run(t, n.balancer, "ip", "link", "add", "toapp", "type", "ipip", "local", "10.9.0.1", "remote", "10.9.0.2")
	labtest.Run(t, n.balancer, "ip", "link", "set", "toapp", "up")
	labtest.Run(t, n.balancer, "ip", "route", "add", vip+"/32", "dev", "toapp")
	if err := n.balancer.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	if err := n.client.Route(netip.MustParsePrefix(vip+"/32"), netip.MustParseAddr("10.9.0.1")); err != nil {
		t.Fatal(err)
	}
}

// up runs Up on the host and returns its steps as strings.
func up(t *testing.T, h *lab.Host, vips ...string) []string {
	t.Helper()
	var want tunnel.Desired
	for _, v := range vips {
		want.VIPs = append(want.VIPs, netip.MustParseAddr(v))
	}
	return run(t, h, func(ctx context.Context, s *tunnel.Setup) ([]tunnel.Step, error) { return s.Up(ctx, want) })
}

// down runs Down on the host.
func down(t *testing.T, h *lab.Host) []string {
	t.Helper()
	return run(t, h, func(ctx context.Context, s *tunnel.Setup) ([]tunnel.Step, error) { return s.Down(ctx) })
}

func run(t *testing.T, h *lab.Host, fn func(context.Context, *tunnel.Setup) ([]tunnel.Step, error)) []string {
	t.Helper()
	var steps []tunnel.Step
	err := h.Do(func() (err error) {
		steps, err = fn(t.Context(), tunnel.New(stateDir, labtest.Log(t))) // a new one each time, so nothing is kept in memory
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, s := range steps {
		words = append(words, s.String())
	}
	return words
}

// snapshot is everything that the set-up might change, as shown by standard tools.
func snapshot(t *testing.T, h *lab.Host) string {
	t.Helper()
	return labtest.Run(t, h, "sh", "-c", `ip -o addr; ip -o link | cut -d' ' -f1-6; ip route show table all | sort; `+
		`grep -r . /proc/sys/net/ipv4/conf | sort; nft list ruleset; ls -R /var/lib/lb`)
}

func TestUpTwiceThenDown(t *testing.T) {
	app := build(t).app
	labtest.Run(t, app, "nft", "add table ip foreign; add chain ip foreign c { type filter hook output priority 0; }; "+
		"add rule ip foreign c counter accept; "+
		"add table inet lb; add map inet lb m { type ipv4_addr : mark; elements = { 10.9.0.7 : 0x7 }; }")
	labtest.Run(t, app, "mkdir", "-p", stateDir)
	foreign := func() string {
		return labtest.Run(t, app, "sh", "-c", "nft list table ip foreign | sed 's/packets.*bytes [0-9]*//'; nft list table inet lb")
	}
	labtest.Run(t, app, "sysctl", "-w", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.tunl0.arp_ignore=0")
	before, foreignBefore := snapshot(t, app), foreign()

	want := []string{
		"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
		"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
		"set net/ipv4/conf/tunl0/rp_filter to 2 (is 0)",
		"set tunl0 up",
		"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100, 10.9.0.101 to 1440 bytes",
		"add 10.9.0.100/32 to tunl0",
		"add 10.9.0.101/32 to tunl0",
	}
	if diff := cmp.Diff(want, up(t, app, "10.9.0.101", "10.9.0.100")); diff != "" {
		t.Errorf("first Up: -want +got\n%s", diff)
	}
	if steps := up(t, app, "10.9.0.100", "10.9.0.101"); len(steps) != 0 {
		t.Errorf("second Up did %q", steps)
	}
	list := labtest.Run(t, app, "ip", "-o", "addr", "show", "dev", "tunl0")
	if !strings.Contains(list, "10.9.0.100/32") || !strings.Contains(list, "tunl0:lb") {
		t.Errorf("addresses: %s", list)
	}
	golden := `table inet lb_agent {
	set vips {
		type ipv4_addr
		elements = { 10.9.0.100, 10.9.0.101 }
	}

	chain answers {
		type filter hook output priority mangle; policy accept;
		ip saddr @vips tcp flags syn tcp option maxseg size set 1440 comment "lb: room for the tunnel, mss 1440"
	}
}
`
	if diff := cmp.Diff(golden, labtest.Run(t, app, "nft", "list", "table", "inet", "lb_agent")); diff != "" {
		t.Errorf("the table as nft lists it: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(foreignBefore, foreign()); diff != "" {
		t.Errorf("other tables: -was +is\n%s", diff)
	}

	// An unmanaged address stays through a change and through Down.
	labtest.Run(t, app, "ip", "addr", "add", "10.9.0.102/32", "dev", "tunl0")
	want = []string{
		"write nftables table inet lb_agent: clamp the MSS of 10.9.0.101, 10.9.0.102 to 1440 bytes",
		"remove 10.9.0.100/32 from tunl0",
	}
	if diff := cmp.Diff(want, up(t, app, "10.9.0.102", "10.9.0.101")); diff != "" {
		t.Errorf("Up for other virtual IPs: -want +got\n%s", diff)
	}
	labtest.Run(t, app, "ip", "addr", "del", "10.9.0.102/32", "dev", "tunl0")

	down(t, app)
	if diff := cmp.Diff(before, snapshot(t, app)); diff != "" {
		t.Errorf("after Down: -was +is\n%s", diff)
	}
	if steps := down(t, app); len(steps) != 0 {
		t.Errorf("second Down did %q", steps)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	app := build(t).app
	up(t, app, "10.9.0.100")
	tests := []struct{ name, by, step string }{
		{"address deleted", "ip addr del 10.9.0.100/32 dev tunl0", "add 10.9.0.100/32 to tunl0"},
		{"tunl0 down", "ip link set tunl0 down", "set tunl0 up"},
		{"sysctl changed", "sysctl -w net.ipv4.conf.all.arp_ignore=0", "set net/ipv4/conf/all/arp_ignore to 1 (is 0)"},
		{"rule deleted", "nft flush chain inet lb_agent answers", "write nftables table"},
		{"rule added", "nft add rule inet lb_agent answers accept", "write nftables table"},
		{"set changed", "nft add element inet lb_agent vips { 10.9.0.7 }", "write nftables table"},
		{"table deleted", "nft delete table inet lb_agent", "write nftables table"},
		{"unexpected table", "nft delete table inet lb_agent; nft add table inet lb_agent", "write nftables table"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			labtest.Run(t, app, "sh", "-c", tt.by)
			if steps := up(t, app, "10.9.0.100"); len(steps) != 1 || !strings.HasPrefix(steps[0], tt.step) {
				t.Errorf("Up did %q", steps)
			}
			if steps := up(t, app, "10.9.0.100"); len(steps) != 0 {
				t.Errorf("the next Up did %q", steps)
			}
		})
	}
}

func TestTunnelledPacketsArriveAndRepliesGoDirectly(t *testing.T) {
	n := build(t)
	n.tunnelTo(t, "10.9.0.100")
	// The strictest machine possible: Up changes only what it must.
	labtest.Run(t, n.app, "sysctl", "-w",
		"net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=1", "net.ipv4.conf.tunl0.rp_filter=1")
	up(t, n.app, "10.9.0.100")
	listener, err := n.app.Listen(t.Context(), "tcp4", ":443")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			data, _ := io.ReadAll(c)
			fmt.Fprintf(c, "%d bytes for %s", len(data), c.LocalAddr())
			c.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-served })

	sizes := synAckSizes(t, n.client)
	for _, tt := range []struct {
		address string
		mss     int
	}{{"10.9.0.100:443", 1440}, {"10.9.0.2:443", 1460}} {
		t.Run(tt.address, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c, err := n.client.Dial(ctx, "tcp", tt.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			// Full segments, which would not fit into the tunnel without the clamp.
			if _, err := c.Write(make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if want := "100000 bytes for " + tt.address; err != nil || string(got) != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
			if mss := sizes(netip.MustParseAddrPort(tt.address)); mss != tt.mss {
				t.Errorf("the SYN-ACK from %s offered an MSS of %d bytes, want %d", tt.address, mss, tt.mss)
			}
		})
	}
	if count := labtest.Run(t, n.balancer, "cat", "/sys/class/net/toapp/statistics/tx_packets"); count == "0\n" {
		t.Error("nothing went through the tunnel")
	}
	if count := labtest.Run(t, n.balancer, "cat", "/sys/class/net/toapp/statistics/rx_packets"); count != "0\n" {
		t.Errorf("%s replies went back through the tunnel", strings.TrimSpace(count))
	}
}

func TestStrictReversePathFilterDropsTunnelledPackets(t *testing.T) {
	// Why rp_filter is 2: with 1 on "all" and 0 on tunl0, the default of a new tunl0, nothing arrives.
	n := build(t)
	n.tunnelTo(t, "10.9.0.100")
	labtest.Run(t, n.app, "sysctl", "-w", "net.ipv4.conf.all.rp_filter=1")
	up(t, n.app, "10.9.0.100")
	sink, err := n.app.ListenPacket(t.Context(), "udp", "10.9.0.100:53")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	c, err := n.client.Dial(t.Context(), "udp", "10.9.0.100:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dropped := func() string {
		return labtest.Run(t, n.app, "sh", "-c", `nstat -asz TcpExtIPReversePathFilter | awk '/IPRev/ {print $2}'`)
	}
	if err := n.app.Sysctl("net.ipv4.conf.tunl0.rp_filter", "0"); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, "the strict filter drops the packet", func() (bool, string) {
		_, err := c.Write([]byte("lost"))
		count := dropped()
		return count != "0\n", fmt.Sprint(count, err)
	})
	up(t, n.app, "10.9.0.100")
	if _, err := c.Write([]byte("arrives")); err != nil {
		t.Fatal(err)
	}
	if err := sink.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if k, _, err := sink.ReadFrom(buf); err != nil || string(buf[:k]) != "arrives" {
		t.Errorf("read %q, %v", buf[:k], err)
	}
}

func TestTheVirtualIPIsNotAnsweredByARP(t *testing.T) {
	n := build(t)
	up(t, n.app, "10.9.0.100")
	sendPacket := func() {
		t.Helper()
		c, err := n.client.Dial(t.Context(), "udp", "10.9.0.100:9")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("who has it?")); err != nil {
			t.Fatal(err)
		}
	}
	neighbour := func() string { return labtest.Run(t, n.client, "ip", "neigh", "show", "10.9.0.100") }
	sendPacket()
	labtest.Eventually(t, patience, "nobody answers the client's ARP requests", func() (bool, string) {
		return strings.Contains(neighbour(), "FAILED"), neighbour()
	})
	// The counter-check: without the sysctl the app answers.
	if err := n.app.Sysctl("net.ipv4.conf.all.arp_ignore", "0"); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, n.client, "ip", "neigh", "flush", "all")
	sendPacket()
	labtest.Eventually(t, patience, "the app answers ARP requests for the virtual IP", func() (bool, string) {
		return strings.Contains(neighbour(), "lladdr"), neighbour()
	})
}

func TestTheDeviceIsCreatedWhereTheModuleCreatesNone(t *testing.T) {
	labtest.NoFallbackTunnels(t)
	n := build(t)
	n.tunnelTo(t, "10.9.0.100")
	if list := labtest.Run(t, n.app, "ip", "-o", "link"); strings.Contains(list, "tunl0") {
		t.Fatalf("there is a tunl0: %s", list)
	}
	if steps := up(t, n.app, "10.9.0.100"); !strings.HasPrefix(steps[0], "create tunl0") {
		t.Errorf("Up did %q", steps)
	}
	sink, err := n.app.ListenPacket(t.Context(), "udp", "10.9.0.100:53")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	c, err := n.client.Dial(t.Context(), "udp", "10.9.0.100:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("arrives")); err != nil {
		t.Fatal(err)
	}
	if err := sink.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if k, _, err := sink.ReadFrom(buf); err != nil || string(buf[:k]) != "arrives" {
		t.Errorf("read %q, %v", buf[:k], err)
	}
}

func TestAFailureNamesTheStepsNotDone(t *testing.T) {
	app := build(t).app
	labtest.Run(t, app, "mkdir", stateDir)
	labtest.Run(t, app, "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", stateDir)
	err := app.Do(func() error {
		_, err := tunnel.New(stateDir, labtest.Log(t)).Up(t.Context(), tunnel.Desired{
			VIPs: []netip.Addr{netip.MustParseAddr("10.9.0.100")},
		})
		return err
	})
	for _, want := range []string{
		"set up the tunnel: ", "not done: set net/ipv4/conf/all/arp_announce to 2 (is 0); ",
		"; add 10.9.0.100/32 to tunl0: save the previous settings: ", "read-only",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in the error: %v", want, err)
		}
	}
	if list := labtest.Run(t, app, "ip", "-o", "addr", "show", "dev", "tunl0"); strings.Contains(list, "10.9.0.100") {
		t.Errorf("the virtual IP was added without the earlier steps: %s", list)
	}
}

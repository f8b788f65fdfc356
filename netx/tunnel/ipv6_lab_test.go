//go:build lab

package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// tunnelIPv6To routes the virtual IP from the client over the balancer through an IPv6 tunnel to the app. IPVS adds no option for
// the encapsulation limit either.
func (n network) tunnelIPv6To(t *testing.T, vip string) {
	t.Helper()
	labtest.Run(t, n.balancer, "ip", "link", "add", "toapp6", "type", "ip6tnl", "mode", "ip6ip6", "local", "fd09::1", "remote", "fd09::2",
		"encaplimit", "none")
	labtest.Run(t, n.balancer, "ip", "link", "set", "toapp6", "up")
	labtest.Run(t, n.balancer, "ip", "-6", "route", "add", vip+"/128", "dev", "toapp6")
	if err := n.balancer.Sysctl("net.ipv6.conf.all.forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	if err := n.client.Route(netip.MustParsePrefix(vip+"/128"), netip.MustParseAddr("fd09::1")); err != nil {
		t.Fatal(err)
	}
}

func TestIPv6UpTwiceThenDown(t *testing.T) {
	app := build(t).app
	labtest.Run(t, app, "mkdir", "-p", stateDir)
	before := snapshot(t, app)
	want := []string{
		"set net/ipv4/conf/all/arp_announce to 2 (is 0)",
		"set net/ipv4/conf/all/arp_ignore to 1 (is 0)",
		"set net/ipv4/conf/tunl0/rp_filter to 2 (is 0)",
		"set tunl0 up",
		"write nftables table inet lb_agent: clamp the MSS of 10.9.0.100 to 1440 bytes and the MSS of fd09::100 to 1400 bytes",
		"add 10.9.0.100/32 to tunl0",
		"set ip6tnl0 up",
		"add fd09::100/128 to ip6tnl0",
	}
	if diff := cmp.Diff(want, up(t, app, "fd09::100", "10.9.0.100")); diff != "" {
		t.Errorf("first Up: -want +got\n%s", diff)
	}
	if steps := up(t, app, "10.9.0.100", "fd09::100"); len(steps) != 0 {
		t.Errorf("second Up did %q", steps)
	}
	golden := `table inet lb_agent {
	set vips {
		type ipv4_addr
		elements = { 10.9.0.100 }
	}

	set vips6 {
		type ipv6_addr
		elements = { fd09::100 }
	}

	chain answers {
		type filter hook output priority mangle; policy accept;
		ip saddr @vips tcp flags syn tcp option maxseg size set 1440 comment "lb: room for the tunnel, mss 1440"
		ip6 saddr @vips6 tcp flags syn tcp option maxseg size set 1400 comment "lb: room for the IPv6 tunnel, mss 1400"
	}
}
`
	if diff := cmp.Diff(golden, labtest.Run(t, app, "nft", "list", "table", "inet", "lb_agent")); diff != "" {
		t.Errorf("the table as nft lists it: -want +got\n%s", diff)
	}
	// The machine's own connections do not start from the virtual IP.
	if list := labtest.Run(t, app, "ip", "-o", "addr", "show", "dev", "ip6tnl0"); !strings.Contains(list, "fd09::100/128") ||
		!strings.Contains(list, "deprecated") || !strings.Contains(list, "valid_lft forever") {
		t.Errorf("addresses: %s", list)
	}

	// An unmanaged address stays; lb's goes.
	labtest.Run(t, app, "ip", "addr", "add", "fd09::102/128", "dev", "ip6tnl0")
	want = []string{
		"write nftables table inet lb_agent: clamp the MSS of fd09::101, fd09::102 to 1400 bytes",
		"add fd09::101/128 to ip6tnl0",
		"remove 10.9.0.100/32 from tunl0",
		"remove fd09::100/128 from ip6tnl0",
	}
	if diff := cmp.Diff(want, up(t, app, "fd09::102", "fd09::101")); diff != "" {
		t.Errorf("Up for other virtual IPs: -want +got\n%s", diff)
	}
	labtest.Run(t, app, "ip", "addr", "del", "fd09::102/128", "dev", "ip6tnl0")
	down(t, app)
	if diff := cmp.Diff(before, snapshot(t, app)); diff != "" {
		t.Errorf("after Down: -was +is\n%s", diff)
	}
	if steps := down(t, app); len(steps) != 0 {
		t.Errorf("second Down did %q", steps)
	}
}

func TestIPv6DriftIsRepaired(t *testing.T) {
	app := build(t).app
	up(t, app, "fd09::100")
	for _, tt := range []struct {
		name, by string
		steps    []string // beginnings
	}{
		{"address deleted", "ip addr del fd09::100/128 dev ip6tnl0", []string{"add fd09::100/128 to ip6tnl0"}},
		{"ip6tnl0 down", "ip link set ip6tnl0 down; ip -6 addr flush dev ip6tnl0",
			[]string{"set ip6tnl0 up", "add fd09::100/128 to ip6tnl0"}},
		{"rule deleted", "nft flush chain inet lb_agent answers", []string{"write nftables table"}},
		{"set changed", "nft add element inet lb_agent vips6 { fd09::7 }", []string{"write nftables table"}},
		{"ruleset flushed", "nft flush ruleset", []string{"write nftables table"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			labtest.Run(t, app, "sh", "-c", tt.by)
			steps := up(t, app, "fd09::100")
			if len(steps) != len(tt.steps) {
				t.Fatalf("Up did %q", steps)
			}
			for i, want := range tt.steps {
				if !strings.HasPrefix(steps[i], want) {
					t.Errorf("Up did %q", steps)
				}
			}
			if steps := up(t, app, "fd09::100"); len(steps) != 0 {
				t.Errorf("the next Up did %q", steps)
			}
		})
	}
}

func TestIPv6TunnelledPacketsArriveAndRepliesGoDirectly(t *testing.T) {
	n := build(t)
	n.tunnelIPv6To(t, "fd09::100")
	up(t, n.app, "fd09::100")
	countBytes(t, n.app, "tcp6", "[::]:443")
	// Full segments, which would not fit into the tunnel without the clamp, and no ICMP that says so.
	labtest.Run(t, n.client, "nft", "add table inet noicmp; add chain inet noicmp c { type filter hook input priority 0; }; "+
		"add rule inet noicmp c icmpv6 type packet-too-big drop")
	if mss := uploadAndReadMSS(t, n.client, "[fd09::100]:443"); mss != 1400 {
		t.Errorf("the virtual IP offered an MSS of %d bytes, want 1400", mss)
	}
	if mss := uploadAndReadMSS(t, n.client, "[fd09::2]:443"); mss != 1440 {
		t.Errorf("the node's own address offered an MSS of %d bytes, want 1440", mss)
	}
	if count := labtest.Run(t, n.balancer, "cat", "/sys/class/net/toapp6/statistics/tx_packets"); count == "0\n" {
		t.Error("nothing went through the tunnel")
	}
	if count := labtest.Run(t, n.balancer, "cat", "/sys/class/net/toapp6/statistics/rx_packets"); count != "0\n" {
		t.Errorf("%s replies went back through the tunnel", strings.TrimSpace(count))
	}
}

func TestTheIPv6VirtualIPIsNotAnsweredByNeighbourDiscovery(t *testing.T) {
	n := build(t)
	up(t, n.app, "fd09::100")
	neighbour := func() string { return labtest.Run(t, n.client, "ip", "-6", "neigh", "show", "fd09::100") }
	labtest.Eventually(t, patience, "nobody answers the client's solicitations", func() (bool, string) {
		c, err := n.client.Dial(t.Context(), "udp", "[fd09::100]:9")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Write([]byte("who has it?"))
		return strings.Contains(neighbour(), "FAILED"), fmt.Sprint(neighbour(), err)
	})
}

func TestTheIPv6DeviceIsCreatedWhereTheModuleCreatesNone(t *testing.T) {
	labtest.NoFallbackTunnels(t)
	n := build(t)
	n.tunnelIPv6To(t, "fd09::100")
	if list := labtest.Run(t, n.app, "ip", "-o", "link"); strings.Contains(list, "ip6tnl0") {
		t.Fatalf("there is an ip6tnl0: %s", list)
	}
	if steps := up(t, n.app, "fd09::100"); !strings.HasPrefix(steps[1], "create ip6tnl0") {
		t.Errorf("Up did %q", steps)
	}
	countBytes(t, n.app, "tcp6", "[::]:443")
	if mss := uploadAndReadMSS(t, n.client, "[fd09::100]:443"); mss != 1400 {
		t.Errorf("MSS %d", mss)
	}
}

// countBytes serves the number of bytes that a client has sent.
func countBytes(t *testing.T, h *lab.Host, network, address string) {
	t.Helper()
	listener, err := h.Listen(t.Context(), network, address)
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
			n, _ := io.Copy(io.Discard, c)
			fmt.Fprint(c, n)
			c.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-served })
}

// uploadAndReadMSS sends 100 kB to countBytes and returns the MSS that it had offered.
func uploadAndReadMSS(t *testing.T, client *lab.Host, address string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Dial(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	const timestamps = 12 // bytes of each segment, which ss subtracts
	text := labtest.Run(t, client, "sh", "-c", "ss -tnHi 'sport = :"+port+"' | grep -o ' mss:[0-9]*' | cut -d: -f2")
	mss, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatalf("ss: %q", text)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "100000" {
		t.Errorf("got %q, %v", got, err)
	}
	return mss + timestamps
}

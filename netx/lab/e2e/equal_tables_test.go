//go:build lab

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

// testPort is where both balancers receive datagrams, each on its own address: mh with mh-port hashes only the client's address and port.
const testPort = 53

// clientCount is the number of clients, distinguished by their ports, that send to both balancers in a comparison.
const clientCount = 1000

// balancerPair is two balancers and a client that sends the same to both.
type balancerPair struct {
	client    *lab.Host
	balancers [2]*lab.Host
	addresses [2]netip.Addr
	nextPort  int // the client's first unused port
}

func newBalancerPair(t *testing.T) *balancerPair {
	t.Helper()
	l := labtest.New(t)
	s := labtest.Switch(t, l, "scale")
	p := &balancerPair{client: labtest.Host(t, l, s, "client", "192.0.2.100/24"), nextPort: 20000}
	for i := range p.balancers {
		address := fmt.Sprintf("192.0.2.%d", i+1)
		p.addresses[i] = netip.MustParseAddr(address)
		h := labtest.Host(t, l, s, fmt.Sprintf("load%02d", i+1), address+"/24")
		p.balancers[i] = h
		rules := fmt.Sprintf("table inet probe {\n chain in {\n type filter hook prerouting priority -150\n"+
			" udp dport %d meta mark set 7\n }\n}\n", testPort)
		if err := h.WriteFile("/run/scale.nft", []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		labtest.Run(t, h, "nft", "-f", "/run/scale.nft")
		labtest.Run(t, h, "ip", "route", "add", "10.0.0.0/24", "dev", "eth0")
	}
	return p
}

// replaceService replaces the service of balancer i. Nodes are "NUMBER WEIGHT", added in this order.
func (p *balancerPair) replaceService(t *testing.T, i int, nodes ...string) {
	t.Helper()
	script := "ipvsadm -C; ipvsadm -A -f 7 -s mh -b mh-fallback,mh-port"
	for _, n := range nodes {
		number, weight, _ := strings.Cut(n, " ")
		script += fmt.Sprintf("; ipvsadm -a -f 7 -r 10.0.0.%s -g -w %s", number, weight)
	}
	labtest.Run(t, p.balancers[i], "sh", "-ec", script)
}

// sendFromNewClients sends packets from new clients to both balancers and returns the first client's port.
func (p *balancerPair) sendFromNewClients(t *testing.T, clients, packets int) (first int) {
	t.Helper()
	first = p.nextPort
	p.nextPort += clients
	for port := first; port < p.nextPort; port++ {
		conn, err := p.client.ListenPacket(t.Context(), "udp4", fmt.Sprintf("192.0.2.100:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		for range packets {
			for _, a := range p.addresses {
				if _, err := conn.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, testPort))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return first
}

// connectionEntry matches a line of /proc/net/ip_vs_conn: protocol, client, client port, virtual IP, its port, node.
var connectionEntry = regexp.MustCompile(`(?m)^UDP [0-9A-F]{8} ([0-9A-F]{4}) [0-9A-F]{8} [0-9A-F]{4} [0-9A-F]{6}([0-9A-F]{2}) `)

// chosenNodes returns the number of the node that balancer i chose for each client port from first on.
func (p *balancerPair) chosenNodes(t *testing.T, i, first int) map[int]int {
	t.Helper()
	got := map[int]int{}
	labtest.Eventually(t, timeout, "every client has a connection", func() (bool, string) {
		for _, m := range connectionEntry.FindAllStringSubmatch(labtest.Run(t, p.balancers[i], "cat", "/proc/net/ip_vs_conn"), -1) {
			port, _ := strconv.ParseInt(m[1], 16, 32)
			node, _ := strconv.ParseInt(m[2], 16, 32)
			if int(port) >= first {
				got[int(port)] = int(node)
			}
		}
		return len(got) == p.nextPort-first, fmt.Sprintf("%d of %d", len(got), p.nextPort-first)
	})
	return got
}

// countDifferences sends from new clients to both balancers. It returns how many clients reach different nodes, in all, and among those
// whose node on the first balancer is not except.
func (p *balancerPair) countDifferences(t *testing.T, except int) (all, others int) {
	t.Helper()
	first := p.sendFromNewClients(t, clientCount, 1)
	one, two := p.chosenNodes(t, 0, first), p.chosenNodes(t, 1, first)
	for port, node := range one {
		if two[port] == node {
			continue
		}
		all++
		if node != except {
			others++
		}
	}
	return all, others
}

// TestEqualTablesPickTheSameNode measures what docs/scale.md says about mh on several active balancers.
func TestEqualTablesPickTheSameNode(t *testing.T) {
	p := newBalancerPair(t)
	five := []string{"1 100", "2 100", "3 100", "4 100", "5 100"}
	p.replaceService(t, 0, five...)
	for _, tt := range []struct {
		name      string
		nodes     []string
		drained   bool // then set node 3 to weight 0
		least     int  // bounds for the clients of 1000 that reach a different node
		most      int
		elsewhere int // upper bound for those whose node is not node 3
	}{
		{"the same nodes, added in the same order", five, false, 0, 0, 0},
		{"all weights halved", []string{"1 50", "2 50", "3 50", "4 50", "5 50"}, false, 0, 0, 0},
		{"node 3 at weight 0", five, true, 120, 280, 0},
		{"node 3 missing", []string{"1 100", "2 100", "4 100", "5 100"}, false, 120, 300, 20},
		{"node 3 at weight 90", []string{"1 100", "2 100", "3 90", "4 100", "5 100"}, false, 1, 60, 60},
		{"nodes added in reverse order", []string{"5 100", "4 100", "3 100", "2 100", "1 100"}, false, 1, 60, 60},
	} {
		p.replaceService(t, 1, tt.nodes...)
		if tt.drained {
			labtest.Run(t, p.balancers[1], "ipvsadm", "-e", "-f", "7", "-r", "10.0.0.3", "-g", "-w", "0")
		}
		all, others := p.countDifferences(t, 3)
		t.Logf("%s: %d of %d clients reach a different node, %d of them from nodes other than node 3", tt.name, all, clientCount, others)
		if all < tt.least || all > tt.most || others > tt.elsewhere {
			t.Errorf("%s: %d and %d, want %d to %d and at most %d", tt.name, all, others, tt.least, tt.most, tt.elsewhere)
		}
	}
}

// TestConnectionMemoryAndSyncCost measures what docs/scale.md says about memory and connection synchronization.
func TestConnectionMemoryAndSyncCost(t *testing.T) {
	p := newBalancerPair(t)
	const counter = "table inet sync {\n counter sync {}\n chain in {\n type filter hook prerouting priority -300\n" +
		" udp dport 8848 counter name sync\n }\n}\n"
	if err := p.balancers[1].WriteFile("/run/sync.nft", []byte(counter), 0o600); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, p.balancers[1], "nft", "-f", "/run/sync.nft")
	labtest.Run(t, p.balancers[0], "ipvsadm", "--start-daemon", "master", "--mcast-interface", "eth0", "--syncid", "7")
	p.replaceService(t, 0, "1 100", "2 100")
	p.sendFromNewClients(t, clientCount, 2)
	syncTraffic := func() (packets, bytes int) {
		out := labtest.Run(t, p.balancers[1], "nft", "list", "counter", "inet", "sync", "sync")
		_, out, _ = strings.Cut(out, "packets ")
		if _, err := fmt.Sscanf(out, "%d bytes %d", &packets, &bytes); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return packets, bytes
	}
	if packets, _ := syncTraffic(); packets > 0 {
		t.Errorf("%d sync packets for connections of two packets each, want none", packets)
	}
	p.sendFromNewClients(t, clientCount, 3)
	labtest.Eventually(t, timeout, "all connections are synchronized to the other balancer", func() (bool, string) {
		packets, bytes := syncTraffic()
		// Each entry has 36 bytes; each packet has an 8-byte header, 28 bytes of IP and UDP headers, and at most 1500 bytes.
		each := float64(bytes-packets*36) / clientCount
		return each >= 36 && each < 37 && packets >= 25, fmt.Sprintf("%d packets, %d bytes", packets, bytes)
	})
	packets, bytes := syncTraffic()
	size := strings.TrimSpace(labtest.Run(t, p.balancers[0], "cat", "/sys/kernel/slab/ip_vs_conn/slab_size"))
	table := strings.TrimSpace(labtest.Run(t, p.balancers[0], "cat", "/sys/module/ip_vs/parameters/conn_tab_bits"))
	t.Logf("%d connections: %d sync packets, %d bytes; an entry takes %s bytes; conn_tab_bits %s", clientCount, packets, bytes, size, table)
	if n, err := strconv.Atoi(size); err != nil || n < 200 || n > 512 || table != "12" {
		t.Errorf("an entry takes %s bytes, conn_tab_bits %s", size, table)
	}
}

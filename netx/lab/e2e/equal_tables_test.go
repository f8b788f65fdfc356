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

// scalePort is where both balancers take connections, each at its own address: mh looks at the client's address and port alone.
const testPort = 53

// scaleClients is how many clients, told apart by their ports, ask both balancers in one comparison.
const clientCount = 1000

// pair is a client and two balancers that it asks the same.
type balancerPair struct {
	client    *lab.Host
	balancers [2]*lab.Host
	addresses [2]netip.Addr
	nextPort  int // the client's first that is not used yet
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
		rules := fmt.Sprintf("table inet probe {\n chain in {\n type filter hook prerouting priority -150\n udp dport %d meta mark set 7\n }\n}\n", testPort)
		if err := h.WriteFile("/run/scale.nft", []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		labtest.Run(t, h, "nft", "-f", "/run/scale.nft")
		labtest.Run(t, h, "ip", "route", "add", "10.0.0.0/24", "dev", "eth0")
	}
	return p
}

// balance gives one of the balancers a service anew, with nodes as "NUMBER WEIGHT" in the order in which they are added.
func (p *balancerPair) replaceService(t *testing.T, i int, nodes ...string) {
	t.Helper()
	script := "ipvsadm -C; ipvsadm -A -f 7 -s mh -b mh-fallback,mh-port"
	for _, n := range nodes {
		number, weight, _ := strings.Cut(n, " ")
		script += fmt.Sprintf("; ipvsadm -a -f 7 -r 10.0.0.%s -g -w %s", number, weight)
	}
	labtest.Run(t, p.balancers[i], "sh", "-ec", script)
}

// ask has new clients send packets to both balancers, and returns the first one's port.
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

// entry is a connection in /proc/net/ip_vs_conn, as far as it is looked at: protocol, client, its port, virtual address, its port, node.
var connectionEntry = regexp.MustCompile(`(?m)^UDP [0-9A-F]{8} ([0-9A-F]{4}) [0-9A-F]{8} [0-9A-F]{4} [0-9A-F]{6}([0-9A-F]{2}) `)

// nodes returns the number of the node that each client from a port on was sent to by a balancer.
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

// compare has new clients ask both balancers. It returns how many came to another node, of all and of those whose node on the first balancer is not this one.
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

// TestBalancersWithEqualTablesSendAClientToTheSameNode measures what docs/scale.md says about mh on several balancers at once.
func TestEqualTablesPickTheSameNode(t *testing.T) {
	p := newBalancerPair(t)
	five := []string{"1 100", "2 100", "3 100", "4 100", "5 100"}
	p.replaceService(t, 0, five...)
	for _, tt := range []struct {
		name      string
		nodes     []string
		out       bool // node 3 goes to weight 0 then
		least     int  // clients of 1000 that come to another node, of all
		most      int
		elsewhere int // the most of those whose node is not node 3
	}{
		{"the same nodes, added in the same order", five, false, 0, 0, 0},
		{"all weights halved", []string{"1 50", "2 50", "3 50", "4 50", "5 50"}, false, 0, 0, 0},
		{"node 3 at weight 0", five, true, 120, 280, 0},
		{"node 3 never there", []string{"1 100", "2 100", "4 100", "5 100"}, false, 120, 300, 20},
		{"node 3 at weight 90", []string{"1 100", "2 100", "3 90", "4 100", "5 100"}, false, 1, 60, 60},
		{"another order of addition", []string{"5 100", "4 100", "3 100", "2 100", "1 100"}, false, 1, 60, 60},
	} {
		p.replaceService(t, 1, tt.nodes...)
		if tt.out {
			labtest.Run(t, p.balancers[1], "ipvsadm", "-e", "-f", "7", "-r", "10.0.0.3", "-g", "-w", "0")
		}
		all, others := p.countDifferences(t, 3)
		t.Logf("%s: %d of %d clients come to another node, %d of them from other nodes than node 3", tt.name, all, clientCount, others)
		if all < tt.least || all > tt.most || others > tt.elsewhere {
			t.Errorf("%s: %d and %d, want %d to %d and at most %d", tt.name, all, others, tt.least, tt.most, tt.elsewhere)
		}
	}
}

// TestWhatAConnectionCostsABalancer measures what docs/scale.md says about memory and about telling other balancers.
func TestConnectionMemoryAndSyncCost(t *testing.T) {
	p := newBalancerPair(t)
	const counter = "table inet told {\n counter told {}\n chain in {\n type filter hook prerouting priority -300\n udp dport 8848 counter name told\n }\n}\n"
	if err := p.balancers[1].WriteFile("/run/told.nft", []byte(counter), 0o600); err != nil {
		t.Fatal(err)
	}
	labtest.Run(t, p.balancers[1], "nft", "-f", "/run/told.nft")
	labtest.Run(t, p.balancers[0], "ipvsadm", "--start-daemon", "master", "--mcast-interface", "eth0", "--syncid", "7")
	p.replaceService(t, 0, "1 100", "2 100")
	p.sendFromNewClients(t, clientCount, 2)
	syncTraffic := func() (packets, bytes int) {
		out := labtest.Run(t, p.balancers[1], "nft", "list", "counter", "inet", "told", "told")
		_, out, _ = strings.Cut(out, "packets ")
		if _, err := fmt.Sscanf(out, "%d bytes %d", &packets, &bytes); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return packets, bytes
	}
	if packets, _ := syncTraffic(); packets > 0 {
		t.Errorf("%d packets about connections of two packets each", packets)
	}
	p.sendFromNewClients(t, clientCount, 3)
	labtest.Eventually(t, timeout, "the other balancer is told of all", func() (bool, string) {
		packets, bytes := syncTraffic()
		// 36 bytes each, 8 in front of them, and 28 for IP and UDP; at most 1500 a packet.
		each := float64(bytes-packets*36) / clientCount
		return each >= 36 && each < 37 && packets >= 25, fmt.Sprintf("%d packets, %d bytes", packets, bytes)
	})
	packets, bytes := syncTraffic()
	size := strings.TrimSpace(labtest.Run(t, p.balancers[0], "cat", "/sys/kernel/slab/ip_vs_conn/slab_size"))
	table := strings.TrimSpace(labtest.Run(t, p.balancers[0], "cat", "/sys/module/ip_vs/parameters/conn_tab_bits"))
	t.Logf("%d connections: %d packets of sync, %d bytes; an entry takes %s bytes; conn_tab_bits %s", clientCount, packets, bytes, size, table)
	if n, err := strconv.Atoi(size); err != nil || n < 200 || n > 512 || table != "12" {
		t.Errorf("an entry takes %s bytes, conn_tab_bits %s", size, table)
	}
}

//go:build lab

package mark_test

import (
	"context"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/mark"
)

// The flags of packets in TCP.
const (
	flagsAt = 13
	syn     = 0x02
	ack     = 0x10
)

// opening is a packet that opens a connection in any of the protocols.
func opening(port uint16) []byte {
	p := packet(port)
	p[flagsAt] = syn
	return p
}

// wantCounts waits until lb's counters have these values.
func wantCounts(t *testing.T, k *mark.Kernel, want ...mark.Count) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		got, err := k.Counts(t.Context())
		must(t, err)
		if slices.Equal(got, want) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the counters are %v, wanted %v", got, want)
		}
	}
}

func TestCountsShowWhatOthersDoToMarkedPackets(t *testing.T) {
	c := newClient(t)
	k := newKernel(t)
	for _, address := range []string{"204.109.13.7/32", "fd00::7/128"} {
		run(t, "ip", "address", "add", address, "dev", "eth10", "nodad")
	}
	var rules []mark.Rule
	for _, address := range []string{"204.109.13.7", "fd00::7"} {
		rules = append(rules,
			rule(address, "tcp", 443, "", 7), rule(address, "tcp", 443, "eth11", 8), rule(address, "udp", 53, "", 7))
	}
	must(t, k.Set(t.Context(), rules))
	run(t, "nft", "add table inet sink; add chain inet sink c { type filter hook input priority 98; policy accept; }; "+
		"add rule inet sink c meta mark { 7, 8 } drop")
	counts := []mark.Count{
		{Mark: 7, Protocol: "tcp", Port: 443}, {Mark: 7, Protocol: "udp", Port: 53}, {Mark: 8, Protocol: "tcp", Port: 443},
	}
	send := func(arrives uint64) {
		t.Helper()
		for _, address := range []string{"204.109.13.7", "fd00::7"} {
			for i, from := range []struct {
				protocol, device string
				port             uint16
			}{{"tcp", "c0", 443}, {"udp", "c0", 53}, {"tcp", "c1", 443}} {
				conn := c.dial(t, address, from.protocol, from.device)
				_, err := conn.Write(opening(from.port))
				must(t, err)
				if from.protocol == "tcp" {
					later := packet(from.port)
					later[flagsAt] = ack // belongs to a connection
					_, err = conn.Write(later)
					must(t, err)
				}
				counts[i].Marked++
				counts[i].Arrived += arrives
			}
		}
		wantCounts(t, k, counts...)
	}
	send(1)
	for name, interference := range map[string]string{
		"mark changed behind lb's chain": "prerouting priority -140; meta mark set meta mark | 0x10000",
		"mark changed in input":          "input priority 0; meta mark set 99",
		"dropped in prerouting":          "prerouting priority -100; tcp dport 443 drop; udp dport 53 drop",
		"dropped in input":               "input priority 0; policy drop; icmpv6 type nd-neighbor-solicit accept",
	} {
		t.Log(name)
		run(t, "nft", "table inet other { chain c { type filter hook "+interference+"; }; }")
		send(0)
		run(t, "nft", "delete table inet other")
		send(1)
	}
	t.Log("sent elsewhere by an ip rule")
	for _, family := range []string{"-4", "-6"} {
		run(t, "ip", family, "rule", "add", "pref", "10", "fwmark", "7/0xf", "lookup", "100")
		run(t, "ip", family, "rule", "add", "pref", "10", "fwmark", "8/0xf", "lookup", "100")
		run(t, "ip", family, "rule", "add", "pref", "20", "lookup", "local")
		run(t, "ip", family, "rule", "del", "pref", "0")
		run(t, "ip", family, "route", "add", "blackhole", "default", "table", "100")
	}
	send(0)

	must(t, k.Set(t.Context(), rules[:3]))
	must(t, k.Set(t.Context(), nil))
	wantCounts(t, k)
	must(t, k.Remove(t.Context()))
	wantCounts(t, k)
}

// uncountedRules replaces the table's rules, in one transaction, by those of versions that did not count.
const uncountedRules = "flush chain inet lb arrival\ndelete chain inet lb arrival\nflush chain inet lb prerouting\n" +
	"add rule inet lb prerouting meta iiftype != ipip meta mark set ip daddr . meta l4proto . th dport map @vip4\n" +
	"add rule inet lb prerouting meta mark set iifname . ip daddr . meta l4proto . th dport map @vip4_interface\n" +
	"add rule inet lb prerouting meta iiftype != ipip6 meta mark set ip6 daddr . meta l4proto . th dport map @vip6\n" +
	"add rule inet lb prerouting meta mark set iifname . ip6 daddr . meta l4proto . th dport map @vip6_interface\n"

// BenchmarkForwardedPacket sends packets through lb's rules and IPVS, which tunnels them back to the client, where they are dropped:
// with the rules as they are and as they were before lb counted, in turn, so that other work of the machine burdens both.
func BenchmarkForwardedPacket(b *testing.B) {
	c := newClient(b)
	k := newKernel(b)
	run(b, "ip", "address", "add", "204.109.13.7/32", "dev", "eth10")
	run(b, "ipvsadm", "-A", "-f", "7", "-s", "rr")
	run(b, "ipvsadm", "-a", "-f", "7", "-r", "10.1.1.2", "-i")
	run(b, "sysctl", "-qw", "net.ipv4.vs.sloppy_tcp=1")
	rules := []mark.Rule{rule("204.109.13.7", "tcp", 443, "", 7), rule("204.109.13.7", "udp", 443, "", 7)}
	var devices *os.File
	c.do(func() {
		run(b, "nft", "table inet sink { chain c { type filter hook prerouting priority -400; ip protocol 4 drop; }; }")
		var err error
		devices, err = os.Open("/proc/thread-self/net/dev")
		must(b, err)
	})
	defer devices.Close()
	var one unix.CPUSet
	one.Set(0)
	must(b, unix.SchedSetaffinity(0, &one))
	kinds := []*forwarded{
		{name: "established", protocol: "tcp", flags: ack}, {name: "opening", protocol: "tcp", flags: syn}, {name: "udp", protocol: "udp"},
	}
	for _, kind := range kinds {
		var err error
		kind.socket, err = c.dial(b, "204.109.13.7", kind.protocol, "c0").(*net.IPConn).SyscallConn()
		must(b, err)
		kind.with, kind.without = 1<<62, 1<<62
	}
	for b.Loop() {
		must(b, k.Set(b.Context(), rules))
		for _, kind := range kinds {
			kind.with = min(kind.with, kind.send(b, devices))
		}
		run(b, "nft", uncountedRules)
		for _, kind := range kinds {
			kind.without = min(kind.without, kind.send(b, devices))
		}
	}
	for _, kind := range kinds {
		b.ReportMetric(float64(kind.with.Nanoseconds())/forwardedEach, "ns/"+kind.name)
		b.ReportMetric(float64(kind.without.Nanoseconds())/forwardedEach, "ns/"+kind.name+"-before")
		b.ReportMetric(float64(kind.with)/float64(kind.without), "ratio-"+kind.name)
	}
}

// forwardedEach is how many packets are measured at once.
const forwardedEach = 300

// forwarded is a kind of packets, and the shortest times that they took.
type forwarded struct {
	name, protocol string
	flags          byte
	socket         syscall.RawConn
	with, without  time.Duration
}

// send returns the shortest of some times from the first packet to the arrival of the last.
func (f *forwarded) send(b *testing.B, devices *os.File) (best time.Duration) {
	b.Helper()
	p := packet(443)
	if f.protocol == "tcp" {
		p[flagsAt] = f.flags
	}
	best = 1 << 62
	for range 8 {
		target, start := received(b, devices)+forwardedEach, time.Now()
		must(b, f.socket.Write(func(fd uintptr) bool {
			for range forwardedEach {
				if err := unix.Send(int(fd), p, 0); err != nil {
					b.Error(err)
				}
			}
			return true
		}))
		for received(b, devices) < target {
			if time.Since(start) > 10*time.Second {
				b.Fatal("packets are lost")
			}
		}
		best = min(best, time.Since(start))
	}
	return best
}

// received is how many packets the client's second interface has received.
func received(tb testing.TB, devices *os.File) int {
	tb.Helper()
	buffer := make([]byte, 8192)
	n, err := unix.Pread(int(devices.Fd()), buffer, 0)
	must(tb, err)
	_, counters, _ := strings.Cut(string(buffer[:n]), "c1:")
	packets, err := strconv.Atoi(strings.Fields(counters)[1])
	must(tb, err)
	return packets
}

//go:build lab

package mark_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/mark"
)

// TestTunnelledPacketsGetNoPlainMark sends to virtual IPs through tunnels. Out of an IPIP or IP6IP6 tunnel come packets that another
// balancer has balanced already, so only a rule with the tunnel's interface marks them. Out of a GRE tunnel come clients' packets.
func TestTunnelledPacketsGetNoPlainMark(t *testing.T) {
	run(t, "modprobe", "-a", "ipip", "ip6_tunnel", "ip_gre")
	c := newClient(t)
	k := newKernel(t)
	metric := 10
	tunnel := func(kind, name string, pair int) {
		metric++
		from, to := fmt.Sprintf("10.1.%d.2", pair), fmt.Sprintf("10.1.%d.1", pair)
		family := "-4"
		if kind == "ip6ip6" {
			from, to, family = fmt.Sprintf("fd01:%d::2", pair), fmt.Sprintf("fd01:%d::1", pair), "-6"
		}
		c.do(func() {
			run(t, "ip", family, "tunnel", "add", name, "mode", kind, "local", from, "remote", to)
			run(t, "ip", "link", "set", name, "up")
			run(t, "ip", "route", "add", "204.109.13.7", "dev", name, "metric", strconv.Itoa(metric))
			run(t, "ip", "route", "add", "fd00::7", "dev", name, "metric", strconv.Itoa(metric))
		})
		if strings.HasPrefix(name, "dc2") || kind == "gre" { // this side has a device for this peer; all else arrives at tunl0 and ip6tnl0
			run(t, "ip", family, "tunnel", "add", name, "mode", kind, "local", to, "remote", from)
			run(t, "ip", "link", "set", name, "up")
		}
	}
	run(t, "ip", "link", "set", "tunl0", "up")
	run(t, "ip", "link", "set", "ip6tnl0", "up")
	tunnel("ipip", "lb4", 0)
	tunnel("ip6ip6", "lb6", 0)
	tunnel("ipip", "dc2four", 1)
	tunnel("ip6ip6", "dc2six", 1)
	tunnel("gre", "scrubber", 0)
	addCounters(t, "0", "7", "8", "9")
	var rules []mark.Rule
	for address, all := range map[string]string{"204.109.13.7": "tunl0", "fd00::7": "ip6tnl0"} {
		rules = append(rules,
			rule(address, "tcp", 443, "", 7), rule(address, "udp", 53, "", 7), rule(address, "udp", 53, all, 8),
			rule(address, "tcp", 443, "dc2four", 9), rule(address, "tcp", 443, "dc2six", 9))
	}
	must(t, k.Set(t.Context(), rules))

	seen := map[string]int{}
	for _, p := range []struct {
		address, protocol string
		port              uint16
		device, mark      string
	}{
		{"204.109.13.7", "tcp", 443, "c0", "7"},
		{"fd00::7", "tcp", 443, "c0", "7"},
		{"204.109.13.7", "tcp", 443, "lb4", "0"},
		{"fd00::7", "tcp", 443, "lb6", "0"},
		{"204.109.13.7", "udp", 53, "lb4", "8"}, // a relay's mark
		{"fd00::7", "udp", 53, "lb6", "8"},
		{"204.109.13.7", "udp", 53, "dc2four", "0"},
		{"fd00::7", "udp", 53, "dc2six", "0"},
		{"204.109.13.7", "tcp", 443, "dc2four", "9"},
		{"fd00::7", "tcp", 443, "dc2six", "9"},
		{"204.109.13.7", "tcp", 443, "scrubber", "7"},
	} {
		if _, err := c.dial(t, p.address, p.protocol, p.device).Write(packet(p.port)); err != nil {
			t.Fatalf("%s to %s by %s: %v", p.protocol, p.address, p.device, err)
		}
		seen[p.mark]++
		t.Logf("%s %d to %s by %s, wanted mark %s", p.protocol, p.port, p.address, p.device, p.mark)
		eventually(t, "m"+p.mark, seen[p.mark])
	}
	for m, n := range seen {
		eventually(t, "m"+m, n)
	}
}

// olderRules replaces the chain's rules, in one transaction, by those of versions that did not check for a tunnel.
const olderRules = "flush chain inet lb prerouting\n" +
	"add rule inet lb prerouting meta mark set ip daddr . meta l4proto . th dport map @vip4 comment \"lb: vip4\"\n" +
	"add rule inet lb prerouting meta mark set iifname . ip daddr . meta l4proto . th dport map @vip4_interface " +
	"comment \"lb: vip4_interface\"\n" +
	"add rule inet lb prerouting meta mark set ip6 daddr . meta l4proto . th dport map @vip6 comment \"lb: vip6\"\n" +
	"add rule inet lb prerouting meta mark set iifname . ip6 daddr . meta l4proto . th dport map @vip6_interface " +
	"comment \"lb: vip6_interface\"\n"

func TestATableOfAnOlderVersionIsUpgradedInPlace(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), listedRules()))
	run(t, "nft", olderRules)
	wantRules(t, k, listedRules()) // they mark packets until then, so lb has nothing to report
	before := generation(t, k)
	must(t, k.Set(t.Context(), listedRules()))
	if after := generation(t, k); after != before+1 {
		t.Errorf("the upgrade took %d transactions, wanted 1", after-before)
	}
	if got := run(t, "nft", "list", "table", "inet", "lb"); !slices.Equal(sortedBlocks(got), sortedBlocks(listing)) {
		t.Errorf("nft lists\n%s\nwanted\n%s", got, listing)
	}
}

// TestAnUpgradeLosesNoMark floods a virtual IP while tables of an older version are upgraded.
func TestAnUpgradeLosesNoMark(t *testing.T) {
	c := newClient(t)
	k := newKernel(t)
	rules := []mark.Rule{rule("204.109.13.7", "udp", 443, "", 7)}
	must(t, k.Set(t.Context(), rules))
	addCounters(t, "0", "7")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	flooded := make(chan error, 1)
	conn := c.dial(t, "204.109.13.7", "udp", "c0")
	go func() { flooded <- flood(ctx, conn) }()
	for range 20 {
		run(t, "nft", olderRules)
		before := generation(t, k)
		must(t, k.Set(t.Context(), rules))
		if after := generation(t, k); after != before+1 {
			t.Fatalf("the upgrade took %d transactions, wanted 1", after-before)
		}
	}
	stop()
	must(t, <-flooded)
	if lost, marked := readCounter(t, "m0"), readCounter(t, "m7"); lost != 0 || marked < 1000 {
		t.Errorf("%d packets had the mark and %d had not; wanted at least 1000, and none", marked, lost)
	}
}

// flood writes packets until ctx ends. A full queue does not matter.
func flood(ctx context.Context, conn net.Conn) error {
	for ctx.Err() == nil {
		if _, err := conn.Write(packet(443)); err != nil && !strings.Contains(err.Error(), "buffer") {
			return err
		}
	}
	return nil
}

// BenchmarkPacket sends packets to a virtual IP through lb's rules, with and without the check for a tunnel in turn, so that other work
// of the machine burdens both. A packet's cost contains that of sending and dropping it.
func BenchmarkPacket(b *testing.B) {
	const each = 20000
	enterNewNamespace(b)
	run(b, "ip", "link", "set", "lo", "up")
	k := newKernel(b)
	rules := []mark.Rule{rule("127.0.0.7", "udp", 9, "", 7)}
	must(b, k.Set(b.Context(), rules))
	run(b, "nft", "add table inet check; add chain inet check c { type filter hook prerouting priority mangle + 1; }; "+
		"add rule inet check c meta mark 7 drop")
	conn, err := net.Dial("udp", "127.0.0.7:9")
	must(b, err)
	defer conn.Close()
	send := func() time.Duration {
		start := time.Now()
		for range each {
			_, _ = conn.Write(nil)
		}
		return time.Since(start)
	}
	with, without := time.Duration(1<<62), time.Duration(1<<62)
	for b.Loop() {
		must(b, k.Set(b.Context(), rules))
		with = min(with, send())
		run(b, "nft", olderRules)
		without = min(without, send())
	}
	b.ReportMetric(float64(with.Nanoseconds())/each, "ns/packet")
	b.ReportMetric(float64(without.Nanoseconds())/each, "ns/packet-before")
	b.ReportMetric(float64(with)/float64(without), "ratio")
}

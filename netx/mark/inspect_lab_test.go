//go:build lab

package mark_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/braintree/lb/netx/mark"
)

// wantInspection compares what is inspected with lines of kind, certainty and text.
func wantInspection(t *testing.T, k *mark.Kernel, here bool, want ...string) {
	t.Helper()
	vip := netip.MustParseAddr("204.109.13.7")
	in, err := k.Inspect(t.Context(), []mark.Rule{rule("204.109.13.7", "tcp", 443, "", 7), rule("204.109.13.7", "udp", 53, "", 7)})
	must(t, err)
	var got []string
	for _, f := range in.Foreign {
		kind := map[mark.Kind]string{
			mark.ChangesMarks: "changes marks", mark.Drops: "drops", mark.Routes: "routes", mark.Harmless: "harmless",
		}[f.Kind]
		got = append(got, fmt.Sprintf("%s %t: %s", kind, f.Always, f.What))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nwanted %q", got, want)
	}
	if in.Local[vip] != here {
		t.Errorf("the virtual IP is here: %t, wanted %t", in.Local[vip], here)
	}
}

func TestInspectFindsWhatOthersDo(t *testing.T) {
	enterNewNamespace(t)
	run(t, "ip", "link", "set", "lo", "up")
	k := newKernel(t)
	must(t, k.Set(t.Context(), listedRules()))
	wantInspection(t, k, false)
	run(t, "ip", "address", "add", "204.109.13.7/32", "dev", "lo")
	wantInspection(t, k, true)
	const pre, in = "{ chain c { type filter hook prerouting priority ", "{ chain c { type filter hook input priority "
	for rules, want := range map[string]string{
		"inet other " + pre + "-140; meta mark set meta mark | 0x10000; }; }": "changes marks true: " +
			"chain inet other c (prerouting, priority -140) sets marks behind lb's rules",
		"ip other " + pre + "-149; ip saddr 10.0.0.1 meta mark set 3; }; }": "changes marks false: " +
			"chain ip other c (prerouting, priority -149) sets marks behind lb's rules",
		"ip other { chain m { meta mark set ct mark; }; chain c { type nat hook prerouting priority -100; jump m; }; }": "changes marks " +
			"false: chain ip other c (prerouting, priority -100) sets marks behind lb's rules",
		"inet other " + pre + "-200; meta mark set 3; }; }": "harmless true: " +
			"chain inet other c (prerouting, priority -200) sets marks before lb's rules do",
		"ip other " + in + "0; policy drop; tcp dport 22 accept; }; }": "drops false: " +
			"chain ip other c (input, priority 0) drops packets",
		"ip other " + pre + "-100; counter drop; }; }": "drops true: " +
			"chain ip other c (prerouting, priority -100) drops packets",
		"ip other " + in + "0; tcp dport 22 accept; drop; }; }": "drops false: " +
			"chain ip other c (input, priority 0) drops packets",
		"inet other " + in + "0; tcp dport 443 reject; }; }": "drops false: " +
			"chain inet other c (input, priority 0) drops packets",
		"inet other " + in + "200; drop; }; }":                                          "",
		"inet other { chain c { type filter hook forward priority 0; policy drop; }; }": "",
		"inet other { chain c { meta mark set 3 drop; }; }":                             "",
		"bridge other " + pre + "0; meta mark set 3; }; }":                              "",
	} {
		run(t, "nft", "table "+rules)
		if want == "" {
			wantInspection(t, k, true)
		} else {
			wantInspection(t, k, true, want)
		}
		run(t, "nft", "flush ruleset")
		must(t, k.Set(t.Context(), listedRules()))
	}
}

func TestInspectFindsRoutingByMark(t *testing.T) {
	enterNewNamespace(t)
	run(t, "ip", "link", "set", "lo", "up")
	k := newKernel(t)
	run(t, "ip", "address", "add", "204.109.13.7/32", "dev", "lo")
	run(t, "ip", "rule", "add", "pref", "10", "fwmark", "0x7/0xff", "lookup", "100")
	run(t, "ip", "rule", "add", "pref", "11", "fwmark", "8", "lookup", "100")
	run(t, "ip", "-6", "rule", "add", "pref", "12", "fwmark", "7", "lookup", "100")
	run(t, "ip", "route", "add", "blackhole", "default", "table", "100")
	wantInspection(t, k, true, "harmless false: ip rule 10 matches mark 7, and its packets still reach this machine")
	run(t, "ip", "rule", "add", "pref", "20", "lookup", "local")
	run(t, "ip", "rule", "del", "pref", "0")
	wantInspection(t, k, true, "routes true: ip rule 10 sends packets with mark 7 elsewhere")
	// A common way to balance a whole network: only the mark leads its packets here.
	run(t, "ip", "address", "del", "204.109.13.7/32", "dev", "lo")
	run(t, "ip", "route", "flush", "table", "100")
	wantInspection(t, k, false, "harmless false: ip rule 10 matches mark 7, and its packets still reach this machine")
	run(t, "ip", "route", "add", "local", "default", "dev", "lo", "table", "100")
	wantInspection(t, k, true, "harmless false: ip rule 10 matches mark 7, and its packets still reach this machine")
}

//go:build lab

package mark_test

import (
	"slices"
	"testing"
)

// damages are nft commands that an operator or another program might run.
func damages() map[string]string {
	return map[string]string{
		"table deleted": "delete table inet lb",
		"table dormant": "add table inet lb { flags dormant; }",
		"chain deleted": "flush chain inet lb prerouting; delete chain inet lb prerouting",
		"chain of another hook": "flush chain inet lb prerouting; delete chain inet lb prerouting; " +
			"add chain inet lb prerouting { type filter hook input priority mangle; }",
		"chain of another priority": "flush chain inet lb prerouting; delete chain inet lb prerouting; " +
			"add chain inet lb prerouting { type filter hook prerouting priority filter; }",
		"chain without hook":        "flush chain inet lb prerouting; delete chain inet lb prerouting; add chain inet lb prerouting",
		"policy drop":               "chain inet lb prerouting { policy drop; }",
		"rules flushed":             "flush chain inet lb prerouting",
		"rule inserted before lb's": "insert rule inet lb prerouting meta mark set 99 accept",
		"rule added after lb's":     "add rule inet lb prerouting meta mark set 99",
		"rules in another order": "flush chain inet lb prerouting; " +
			"add rule inet lb prerouting meta mark set iifname . ip daddr . meta l4proto . th dport map @vip4_interface " +
			"comment \"lb: vip4_interface\"; " +
			"add rule inet lb prerouting meta mark set ip daddr . meta l4proto . th dport map @vip4 comment \"lb: vip4\"; " +
			"add rule inet lb prerouting meta mark set ip6 daddr . meta l4proto . th dport map @vip6 comment \"lb: vip6\"; " +
			"add rule inet lb prerouting meta mark set iifname . ip6 daddr . meta l4proto . th dport map @vip6_interface " +
			"comment \"lb: vip6_interface\"",
		"different rule with lb's comment": "flush chain inet lb prerouting; " +
			"add rule inet lb prerouting meta mark set ip saddr . meta l4proto . th dport map @vip4 comment \"lb: vip4\"; " +
			"add rule inet lb prerouting meta mark set iifname . ip daddr . meta l4proto . th dport map @vip4_interface " +
			"comment \"lb: vip4_interface\"; " +
			"add rule inet lb prerouting meta mark set ip6 daddr . meta l4proto . th dport map @vip6 comment \"lb: vip6\"; " +
			"add rule inet lb prerouting meta mark set iifname . ip6 daddr . meta l4proto . th dport map @vip6_interface " +
			"comment \"lb: vip6_interface\"",
		"map deleted": "flush chain inet lb prerouting; delete map inet lb vip6",
		"map of another type": "flush chain inet lb prerouting; delete map inet lb vip4; " +
			"add map inet lb vip4 { type ipv4_addr : mark; }",
		"map with a limit": "flush chain inet lb prerouting; delete map inet lb vip4; " +
			"add map inet lb vip4 { type ipv4_addr . inet_proto . inet_service : mark; size 2; }",
		"set instead of a map": "flush chain inet lb prerouting; delete map inet lb vip4; " +
			"add set inet lb vip4 { type ipv4_addr . inet_proto . inet_service; }",
		"map referenced by another chain": "flush chain inet lb prerouting; delete map inet lb vip4; " +
			"add map inet lb vip4 { type ipv4_addr : mark; }; " +
			"add chain inet lb mine; add rule inet lb mine meta mark set ip daddr map @vip4",
		"map emptied":     "flush map inet lb vip4",
		"element deleted": "delete element inet lb vip6_interface { fifteen-letters . fd00::7 . tcp . 443 }",
		"element added":   "add element inet lb vip4 { 10.9.9.9 . icmp . 0 : 99 }",
		"element with another mark": "delete element inet lb vip4 { 204.109.13.7 . tcp . 443 }; " +
			"add element inet lb vip4 { 204.109.13.7 . tcp . 443 : 99 }",
		"rules that count deleted": olderRules,
		"set of counters emptied":  "flush set inet lb arrived",
		"counter added":            "add element inet lb marked { 99 . tcp . 443 }",
		"set without counters": "flush chain inet lb arrival; delete set inet lb arrived; " +
			"add set inet lb arrived { type mark . inet_proto . inet_service; elements = { 7 . tcp . 443 }; }",
		"map instead of a set": "flush chain inet lb arrival; delete set inet lb arrived; " +
			"add map inet lb arrived { type ipv4_addr : mark; }",
		"chain of arrival deleted":    "flush chain inet lb arrival; delete chain inet lb arrival",
		"chain of arrival that drops": "chain inet lb arrival { policy drop; }",
		"chain of arrival elsewhere": "flush chain inet lb arrival; delete chain inet lb arrival; " +
			"add chain inet lb arrival { type filter hook forward priority 97; }",
		"chain of arrival flushed":     "flush chain inet lb arrival",
		"rule in the chain of arrival": "insert rule inet lb arrival counter drop",
		"element with a comment":       "add element inet lb vip4 { 10.9.9.9 . udp . 53 comment \"mine\" : 99 }",
	}
}

func TestManualDamageIsRepaired(t *testing.T) {
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			enterNewNamespace(t)
			k := newKernel(t)
			must(t, k.Set(t.Context(), listedRules()))
			run(t, "nft", damage)
			must(t, k.Set(t.Context(), listedRules()))
			if repaired := run(t, "nft", "list", "table", "inet", "lb"); !slices.Equal(sortedBlocks(repaired), sortedBlocks(listing)) {
				t.Fatalf("nft lists\n%s\nwanted\n%s", repaired, listing)
			}
			before := generation(t, k)
			must(t, k.Set(t.Context(), listedRules()))
			if after := generation(t, k); after != before {
				t.Error("the repaired table is written again")
			}
		})
	}
}

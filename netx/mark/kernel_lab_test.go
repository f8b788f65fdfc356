//go:build lab

package mark_test

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/mark/marktest"
)

// enterNewNamespace moves the calling goroutine, and the programs that it starts, into a new network namespace. The
// thread is never unlocked, so it ends with the test and takes the namespace with it.
func enterNewNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
}

func newKernel(t testing.TB) *mark.Kernel {
	t.Helper()
	k, err := mark.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// run returns the command's output.
func run(t testing.TB, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rule(address, protocol string, port uint16, on string, m ipvs.Mark) mark.Rule {
	return mark.Rule{Address: netip.MustParseAddr(address), Interface: on, Protocol: protocol, Port: port, Mark: m}
}

func someRules() []mark.Rule {
	return []mark.Rule{
		rule("204.109.13.7", "tcp", 443, "", 7),
		rule("204.109.13.7", "tcp", 443, "eth10", 8),
		rule("204.109.13.7", "sctp", 5060, "", 4294967295),
		rule("fd00::7", "udp", 53, "", 70000),
		rule("fd00::7", "tcp", 443, "fifteen-letters", 7),
	}
}

const listing = `table inet lb {
	map vip4 {
		type ipv4_addr . inet_proto . inet_service : mark
		elements = { 204.109.13.7 . tcp . 443 : 0x00000007 }
	}

	map vip4_interface {
		type ifname . ipv4_addr . inet_proto . inet_service : mark
		elements = { "eth10" . 204.109.13.7 . tcp . 443 : 0x00000008 }
	}

	map vip6 {
		type ipv6_addr . inet_proto . inet_service : mark
		elements = { fd00::7 . udp . 53 : 0x00011170 }
	}

	map vip6_interface {
		type ifname . ipv6_addr . inet_proto . inet_service : mark
		elements = { "fifteen-letters" . fd00::7 . tcp . 443 : 0x00000007 }
	}

	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		meta iiftype != ipip meta mark set ip daddr . meta l4proto . th dport map @vip4 comment "lb: vip4"
		meta mark set iifname . ip daddr . meta l4proto . th dport map @vip4_interface comment "lb: vip4_interface"
		meta iiftype != ipip6 meta mark set ip6 daddr . meta l4proto . th dport map @vip6 comment "lb: vip6"
		meta mark set iifname . ip6 daddr . meta l4proto . th dport map @vip6_interface comment "lb: vip6_interface"
		tcp flags != syn / syn,ack accept comment "lb: opens no connection"
		meta mark . meta l4proto . th dport @marked comment "lb: marked"
	}

	set marked {
		type mark . inet_proto . inet_service
		counter
		elements = { 0x00000007 . tcp . 443 counter packets 0 bytes 0,
			     0x00000008 . tcp . 443 counter packets 0 bytes 0,
			     0x00011170 . udp . 53 counter packets 0 bytes 0 }
	}

	set arrived {
		type mark . inet_proto . inet_service
		counter
		elements = { 0x00000007 . tcp . 443 counter packets 0 bytes 0,
			     0x00000008 . tcp . 443 counter packets 0 bytes 0,
			     0x00011170 . udp . 53 counter packets 0 bytes 0 }
	}

	chain arrival {
		type filter hook input priority 97; policy accept;
		tcp flags != syn / syn,ack accept comment "lb: opens no connection"
		meta mark . meta l4proto . th dport @arrived comment "lb: arrived"
	}
}
`

// elementList matches the elements of a map or set in nft's listing.
var elementList = regexp.MustCompile(`(?s)elements = \{ (.*?) \}`)

// sortedBlocks returns the maps, sets and chains of a listing of table inet lb, sorted, each with its elements sorted. A map that is made
// anew is listed last, and elements are in the order of a hash.
func sortedBlocks(listing string) []string {
	inner := strings.TrimSuffix(strings.TrimPrefix(listing, "table inet lb {\n"), "}\n")
	inner = elementList.ReplaceAllStringFunc(inner, func(list string) string {
		elements := regexp.MustCompile(`,\s+`).Split(elementList.FindStringSubmatch(list)[1], -1)
		slices.Sort(elements)
		return strings.Join(elements, "\n")
	})
	var bs []string
	for b := range strings.SplitSeq(inner, "\n\n") {
		bs = append(bs, strings.Trim(b, "\n"))
	}
	slices.Sort(bs)
	return bs
}

// listedRules are the rules of listing: one per map, so that nft's order of elements does not matter.
func listedRules() []mark.Rule {
	return slices.DeleteFunc(someRules(), func(r mark.Rule) bool { return r.Protocol == "sctp" })
}

func TestKernelConformance(t *testing.T) {
	marktest.Run(t, func(t *testing.T) mark.Table {
		enterNewNamespace(t)
		return newKernel(t)
	})
}

func TestNftListsAndRestoresTheTable(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), listedRules()))
	saved := run(t, "nft", "list", "table", "inet", "lb")
	if !slices.Equal(sortedBlocks(saved), sortedBlocks(listing)) {
		t.Fatalf("nft lists\n%s\nwanted\n%s", saved, listing)
	}
	must(t, k.Remove(t.Context()))
	if left := run(t, "nft", "list", "ruleset"); left != "" {
		t.Fatalf("Remove left\n%s", left)
	}
	run(t, "nft", saved)
	wantRules(t, k, listedRules())
	before := generation(t, k)
	must(t, k.Set(t.Context(), listedRules()))
	if after := generation(t, k); after != before {
		t.Error("the restored table is written again")
	}
}

func wantRules(t testing.TB, k *mark.Kernel, rules []mark.Rule) {
	t.Helper()
	got, err := k.List(t.Context())
	must(t, err)
	rules = slices.Clone(rules)
	slices.SortFunc(rules, func(a, b mark.Rule) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Interface, b.Interface))
	})
	if slices.Equal(got, rules) {
		return
	}
	for i := range min(len(got), len(rules)) {
		if got[i] != rules[i] {
			t.Fatalf("the kernel has %d rules, wanted %d; the first difference is %v, wanted %v", len(got), len(rules), got[i], rules[i])
		}
	}
	t.Fatalf("the kernel has %d rules, wanted %d", len(got), len(rules))
}

func generation(t testing.TB, k *mark.Kernel) uint32 {
	t.Helper()
	g, err := k.Generation()
	must(t, err)
	return g
}

func TestSettingTheSameRulesWritesNothing(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), nil))
	must(t, k.Remove(t.Context()))
	if left := run(t, "nft", "list", "ruleset"); left != "" {
		t.Fatalf("setting no rules on a clean machine created\n%s", left)
	}
	before := generation(t, k)
	must(t, k.Set(t.Context(), someRules()))
	if after := generation(t, k); after != before+1 {
		t.Errorf("the first rules took %d transactions, wanted 1", after-before)
	}
	before = generation(t, k)
	rules := someRules()
	for range 3 {
		slices.Reverse(rules)
		must(t, k.Set(t.Context(), rules))
	}
	if after := generation(t, k); after != before {
		t.Errorf("the same rules took %d transactions, wanted none", after-before)
	}
	for i := range rules {
		rules[i].Mark++
		rules[i].Mark = max(rules[i].Mark, 1)
	}
	must(t, k.Set(t.Context(), rules))
	if after := generation(t, k); after != before+1 {
		t.Errorf("new marks took %d transactions, wanted 1", after-before)
	}
	wantRules(t, k, rules)
}

func TestIneffectiveRulesAreNotListed(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), listedRules()))
	run(t, "nft", "add element inet lb vip4 { 10.9.9.9 . icmp . 0 : 99 }")
	wantRules(t, k, append(listedRules(), rule("10.9.9.9", "1", 0, "", 99)))
	run(t, "nft", "flush chain inet lb prerouting")
	wantRules(t, k, nil)
}

const foreignTables = `
table ip lb {
	map vip4 { type ipv4_addr . inet_proto . inet_service : mark; elements = { 10.0.0.1 . tcp . 80 : 0x9 }; }
	chain prerouting {
		type filter hook prerouting priority mangle;
		meta mark set 0x5 counter packets 3 bytes 120 comment "lb: vip4"
	}
}
table inet lb2 {
	set vip4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
	chain prerouting {
		type filter hook prerouting priority mangle;
		ip saddr @vip4 tcp dport { 80, 443 } meta mark set meta mark | 0x100
	}
}
table inet filter {
	counter c { packets 5 bytes 400; }
	chain input {
		type filter hook input priority filter; policy drop;
		limit rate 3/second counter name c accept
	}
}
table arp a {
}
table bridge b {
}
`

func TestOtherTablesAreNeverTouched(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	run(t, "nft", foreignTables)
	before := run(t, "nft", "-a", "list", "ruleset")
	must(t, k.Set(t.Context(), someRules()))
	must(t, k.Set(t.Context(), listedRules()))
	run(t, "nft", "flush chain inet lb prerouting")
	must(t, k.Set(t.Context(), someRules()))
	must(t, k.Remove(t.Context()))
	if after := run(t, "nft", "-a", "list", "ruleset"); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestConcurrentChangesByAnotherProgram(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	ctx, stop := context.WithCancel(t.Context())
	other := newKernel(t) // in the same namespace, on the same table
	done := make(chan error)
	go func() {
		for ctx.Err() == nil {
			if err := other.Set(context.Background(), listedRules()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 50 {
		must(t, k.Set(t.Context(), someRules()))
		must(t, k.Set(t.Context(), nil))
	}
	stop()
	must(t, <-done)
	must(t, k.Set(t.Context(), someRules()))
	wantRules(t, k, someRules())
}

func TestTheHandleStaysInTheNamespaceWhereItWasOpened(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	enterNewNamespace(t)
	must(t, k.Set(t.Context(), someRules()))
	if here := run(t, "nft", "list", "ruleset"); here != "" {
		t.Errorf("the rules were set in the namespace entered later:\n%s", here)
	}
	wantRules(t, k, someRules())
}

// dropNetAdmin permanently drops CAP_NET_ADMIN of the calling thread, which ends with the test.
func dropNetAdmin(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(&header, &data[0]))
	for _, set := range []*uint32{&data[0].Effective, &data[0].Permitted, &data[0].Inheritable} {
		*set &^= 1 << unix.CAP_NET_ADMIN
	}
	must(t, unix.Capset(&header, &data[0]))
}

func TestEveryOperationReportsMissingPrivilege(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Set(t.Context(), someRules()))
	dropNetAdmin(t)
	if _, err := mark.NewKernel(); !errors.Is(err, netx.ErrNoPrivilege) || errors.Is(err, mark.ErrNoNftables) {
		t.Errorf("open: %v", err)
	}
	_, listErr := k.List(t.Context())
	for name, err := range map[string]error{"list": listErr, "set": k.Set(t.Context(), nil), "remove": k.Remove(t.Context())} {
		if !errors.Is(err, netx.ErrNoPrivilege) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAClosedHandleChangesNothing(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	must(t, k.Close())
	if err := k.Set(t.Context(), someRules()); err == nil || run(t, "nft", "list", "ruleset") != "" {
		t.Errorf("set: %v", err)
	}
}

// manyRules returns n rules, spread over the four maps.
func manyRules(n int) []mark.Rule {
	var rules []mark.Rule
	for i := range n {
		r := rule("10.0.0.1", "tcp", uint16(i/4+1), "", ipvs.Mark(i+1))
		if i%2 == 1 {
			r.Address = netip.MustParseAddr("fd00::1")
		}
		if i%4 >= 2 {
			r.Interface = "fifteen-letters"
		}
		rules = append(rules, r)
	}
	return rules
}

func TestThousandsOfRulesTakeOneTransaction(t *testing.T) {
	enterNewNamespace(t)
	k := newKernel(t)
	rules := manyRules(5000)
	for _, step := range []func(){
		func() {},
		func() {
			for i := range rules {
				rules[i].Mark += 7
			}
		},
		func() { rules = rules[4000:] },
		func() { rules = nil },
	} {
		step()
		before := generation(t, k)
		must(t, k.Set(t.Context(), rules))
		if after := generation(t, k); after != before+1 {
			t.Errorf("%d rules took %d transactions, wanted 1", len(rules), after-before)
		}
		wantRules(t, k, rules)
	}
}

func BenchmarkSet(b *testing.B) {
	for _, n := range []struct {
		name  string
		rules int
	}{{"1 rule", 1}, {"100 rules", 100}, {"5000 rules", 5000}} {
		b.Run(n.name+", all marks change", func(b *testing.B) {
			enterNewNamespace(b)
			k := newKernel(b)
			rules := manyRules(n.rules)
			for b.Loop() {
				for i := range rules {
					rules[i].Mark ^= 1 << 20
				}
				must(b, k.Set(b.Context(), rules))
			}
		})
		b.Run(n.name+", nothing changes", func(b *testing.B) {
			enterNewNamespace(b)
			k := newKernel(b)
			rules := manyRules(n.rules)
			for b.Loop() {
				must(b, k.Set(b.Context(), rules))
			}
		})
	}
}

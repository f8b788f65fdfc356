package mark

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
)

// drawRule draws a valid rule from so few values that two draws often have the same key.
func drawRule(t *rapid.T) Rule {
	return Rule{
		Address: netip.MustParseAddr(rapid.SampledFrom([]string{
			"10.0.0.1", "10.0.0.2", "255.255.255.255", "fd00::1", "fd00::2", "::1",
		}).Draw(t, "address")),
		Interface: rapid.SampledFrom([]string{"", "", "eth0", "eth1", "fifteen-letters"}).Draw(t, "interface"),
		Protocol:  rapid.SampledFrom([]string{"tcp", "udp", "sctp"}).Draw(t, "protocol"),
		Port:      rapid.SampledFrom([]uint16{1, 80, 443, 65535}).Draw(t, "port"),
		Mark:      ipvs.Mark(rapid.SampledFrom([]uint32{1, 7, 4294967295}).Draw(t, "mark")),
	}
}

// drawRules draws a valid set of rules.
func drawRules(t *rapid.T, name string) []Rule {
	rules := rapid.SliceOfN(rapid.Custom(drawRule), 0, 30).Draw(t, name)
	slices.SortFunc(rules, compareRules)
	return slices.CompactFunc(rules, func(a, b Rule) bool { return compareKeys(a, b) == 0 })
}

func TestEveryRuleBelongsToOneMapAndRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		held := 0
		for _, s := range mapSpecs() {
			if !s.contains(r) {
				continue
			}
			held++
			set, err := s.set()
			if err != nil {
				t.Fatal(err)
			}
			key := s.key(r)
			if len(key) != int(set.KeyType.Bytes) {
				t.Fatalf("the key of %s has %d bytes, the keys of map %s have %d", r, len(key), s.name, set.KeyType.Bytes)
			}
			if back, err := s.parseKey(key, r.Mark); err != nil || back != r {
				t.Fatalf("%s was read back as %s, %v", r, back, err)
			}
		}
		if held != 1 {
			t.Fatalf("%s is in %d maps", r, held)
		}
	})
}

func TestKeysMatchNft(t *testing.T) {
	r := Rule{Address: netip.MustParseAddr("204.109.13.7"), Interface: "eth10", Protocol: "tcp", Port: 443, Mark: 7}
	want := []byte("eth10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xcc\x6d\x0d\x07\x06\x00\x00\x00\x01\xbb\x00\x00")
	if got := mapSpecs()[1].key(r); !bytes.Equal(got, want) {
		t.Errorf("key is %x, wanted %x", got, want)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1, 6, 0, 0, 0, 1, 187, 0, 0})
	f.Fuzz(func(t *testing.T, key []byte) {
		for _, s := range mapSpecs() {
			if r, err := s.parseKey(key, 7); err == nil && !r.Address.IsValid() {
				t.Errorf("map %s: %x became %v", s.name, key, r)
			}
		}
	})
}

// absentState is the state without a table.
func absentState() state {
	return state{maps: make([]mapState, len(mapSpecs())), sets: make([]mapState, len(countSpecs()))}
}

// kernelState is a kernel's state after rules were set and then damaged as drawn.
func kernelState(rules []Rule, damage func(what string) bool) state {
	s := state{
		present: true, chainValid: !damage("chain"), rulesValid: !damage("foreign rule"), counting: !damage("not counting"),
		oldForm: damage("old form"), arrival: arrivalState{!damage("no arrival"), !damage("other arrival"), !damage("arrival's rules")},
	}
	for _, spec := range mapSpecs() {
		f := mapState{present: !damage("map deleted")}
		f.valid = f.present && !damage("map damaged")
		for _, r := range rules {
			if spec.contains(r) {
				f.ruleValid = s.rulesValid
				if f.valid {
					f.elements = append(f.elements, element{spec.key(r), r.Mark})
				}
			}
		}
		f.ruleValid = f.ruleValid && !damage("rule deleted")
		slices.SortFunc(f.elements, compareElements)
		s.maps = append(s.maps, f)
	}
	for _, spec := range countSpecs() {
		f := mapState{present: !damage("set deleted")}
		if f.valid = f.present && !damage("set damaged"); f.valid {
			f.elements = spec.keys(rules)
		}
		s.sets = append(s.sets, f)
	}
	return s
}

// applyPlan does what a kernel would do, which rejects a second mark for a key and the removal of a missing element.
func applyPlan(s state, p plan) (state, error) {
	replaced := func(c mapChange) bool { return c.replace }
	rewrites := p.rebuild || p.rewrite || slices.ContainsFunc(slices.Concat(p.maps, p.sets), replaced)
	after := state{
		present: true, chainValid: s.chainValid || p.rebuild, rulesValid: s.rulesValid || rewrites, oldForm: s.oldForm && !rewrites,
		counting: s.counting, arrival: s.arrival,
	}
	if rewrites {
		after.counting = p.counted
	}
	if p.counted {
		after.arrival = arrivalState{true, true, true}
	}
	for i, c := range p.maps {
		f, err := applyChange(s.maps[i], c, p.rebuild)
		if err != nil {
			return after, err
		}
		if rewrites {
			f.ruleValid = len(c.desired) > 0
		}
		after.maps = append(after.maps, f)
	}
	for i, c := range p.sets {
		f, err := applyChange(s.sets[i], c, p.rebuild)
		if err != nil {
			return after, err
		}
		after.sets = append(after.sets, f)
	}
	return after, nil
}

func applyChange(f mapState, c mapChange, rebuild bool) (mapState, error) {
	if rebuild || c.replace {
		return mapState{present: true, valid: true, elements: c.desired}, nil
	}
	for _, e := range c.remove {
		at, there := slices.BinarySearchFunc(f.elements, e, compareElements)
		if !there {
			return f, fmt.Errorf("%x is removed but missing", e.key)
		}
		f.elements = slices.Delete(slices.Clone(f.elements), at, at+1)
	}
	for _, e := range c.add {
		at, there := slices.BinarySearchFunc(f.elements, e, compareElements)
		if there {
			return f, fmt.Errorf("%x is added but exists", e.key)
		}
		f.elements = slices.Insert(slices.Clone(f.elements), at, e)
	}
	return f, nil
}

func TestPlansConvergeFromAnyState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		had, want := drawRules(t, "had"), drawRules(t, "want")
		some := rapid.Bool().Draw(t, "damaged")
		before := kernelState(had, func(what string) bool { return some && rapid.IntRange(0, 3).Draw(t, what) == 0 })
		if rapid.IntRange(0, 9).Draw(t, "absent") == 0 {
			before = absentState()
		}
		p := before.plan(want, true)
		after := before
		if !p.empty() {
			var err error
			if after, err = applyPlan(before, p); err != nil {
				t.Fatal(err)
			}
		}
		got, err := after.rules()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("after the plan the rules are %v, %v; wanted %v", got, err, want)
		}
		if again := after.plan(want, true); !again.empty() {
			t.Fatalf("a second plan is not empty: %+v", again)
		}
	})
}

func TestUnchangedElementsAreNotTouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		had, want := drawRules(t, "had"), drawRules(t, "want")
		p := kernelState(had, func(what string) bool { return what == "rule deleted" }).plan(want, true)
		for _, r := range had {
			if !slices.Contains(want, r) {
				continue
			}
			for i, c := range p.maps {
				spec := mapSpecs()[i]
				_, removed := slices.BinarySearchFunc(c.remove, element{key: spec.key(r)}, compareElements)
				if spec.contains(r) && (removed || c.replace || p.rebuild) {
					t.Fatalf("%s is unchanged but removed", r)
				}
			}
		}
	})
}

func TestATransactionCarriesItsGenerationAndOneAcknowledgement(t *testing.T) {
	rules := []Rule{{Address: netip.MustParseAddr("10.0.0.1"), Protocol: "tcp", Port: 443, Mark: 7}}
	messages, err := recordMessages(absentState().plan(rules, true).build)
	if err != nil {
		t.Fatal(err)
	}
	if err := prepareBatch(messages, 0x01020304); err != nil {
		t.Fatal(err)
	}
	first, last := messages[0], messages[len(messages)-1]
	if first.Header.Type != unix.NFNL_MSG_BATCH_BEGIN || !bytes.HasSuffix(first.Data, []byte{8, 0, unix.NFNL_BATCH_GENID, 0, 1, 2, 3, 4}) {
		t.Errorf("the transaction begins with %v %x", first.Header, first.Data)
	}
	if last.Header.Type != unix.NFNL_MSG_BATCH_END {
		t.Errorf("it ends with %v", last.Header)
	}
	sets := 0
	for i, m := range messages {
		if requested := m.Header.Flags&netlink.Acknowledge != 0; requested != (i == len(messages)-2) {
			t.Errorf("message %d of %d: acknowledgement requested is %t", i, len(messages), requested)
		}
		if m.Header.Sequence != 0 || m.Header.PID != 0 {
			t.Errorf("message %d keeps the recorder's sequence number or port ID: %v", i, m.Header)
		}
		if m.Header.Type == newSetType {
			sets++
			// {0: 2, 1: 1}: keys big endian, marks native.
			if !bytes.HasSuffix(m.Data, []byte{0, 4, 2, 0, 0, 0, 1, 4, 1, 0, 0, 0}) {
				t.Errorf("a map without the byte order of its marks: %x", m.Data)
			}
		}
	}
	if want := len(mapSpecs()) + len(countSpecs()); sets != want {
		t.Errorf("%d maps and sets are created, wanted %d", sets, want)
	}
}

func reply(sequence uint32, errno syscall.Errno) syscall.NetlinkMessage {
	return syscall.NetlinkMessage{
		Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR, Seq: sequence},
		Data:   binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno))),
	}
}

func TestBatchError(t *testing.T) {
	const last = 9
	for _, c := range []struct {
		name    string
		answers []syscall.NetlinkMessage
		want    error
	}{
		{"acknowledged", []syscall.NetlinkMessage{reply(last, 0)}, nil},
		{"rejected, although the last message is acknowledged",
			[]syscall.NetlinkMessage{reply(5, unix.EEXIST), reply(last, 0)}, unix.EEXIST},
		{"another program was faster", []syscall.NetlinkMessage{reply(1, unix.ERESTART)}, errGenerationChanged},
		{"no privilege", []syscall.NetlinkMessage{reply(1, unix.EPERM)}, unix.EPERM},
	} {
		if got := batchError(c.answers, last); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, wanted %v", c.name, got, c.want)
		}
	}
	for name, answers := range map[string][]syscall.NetlinkMessage{
		"nothing":                          nil,
		"a response to an earlier message": {reply(3, 0)},
		"rubbish":                          {{Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR}, Data: []byte{1}}},
	} {
		if batchError(answers, last) == nil {
			t.Errorf("%s counts as success", name)
		}
	}
}

func TestErrnosMapToTheirCause(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		unix.EPERM:           netx.ErrNoPrivilege,
		unix.EACCES:          netx.ErrNoPrivilege,
		unix.EPROTONOSUPPORT: ErrNoNftables,
		unix.EOPNOTSUPP:      ErrNoNftables,
		unix.EAFNOSUPPORT:    ErrNoNftables,
		unix.EEXIST:          unix.EEXIST,
	} {
		if got := explainErrno(fmt.Errorf("set: %w", &netlink.OpError{Op: "receive", Err: errno})); !errors.Is(got, want) {
			t.Errorf("%v became %v, wanted %v", errno, got, want)
		}
	}
}

func TestRuleComparisonIgnoresRegisterNumbering(t *testing.T) {
	for _, s := range mapSpecs() {
		ours, kernels := s.rule(checkLast), s.rule(checkLast)
		for _, e := range kernels.Exprs {
			switch e := e.(type) {
			case *expr.Meta:
				e.Register = kernelRegister(e.Register)
			case *expr.Cmp:
				e.Register = kernelRegister(e.Register)
			case *expr.Payload:
				e.DestRegister = kernelRegister(e.DestRegister)
			case *expr.Lookup:
				e.SourceRegister, e.DestRegister, e.SetID = kernelRegister(e.SourceRegister), kernelRegister(e.DestRegister), 0
			}
		}
		if !equalRules(ours, kernels) {
			t.Errorf("%s: %s\nis not\n%s", s.name, exprString(ours.Exprs), exprString(kernels.Exprs))
		}
		for name, other := range map[string]*nftables.Rule{
			"another comment":      {UserData: []byte("x"), Exprs: ours.Exprs},
			"a missing expression": {UserData: ours.UserData, Exprs: ours.Exprs[1:]},
			"an extra expression":  {UserData: ours.UserData, Exprs: append(slices.Clone(ours.Exprs), &expr.Counter{})},
			"another map": {UserData: ours.UserData, Exprs: append(slices.Clone(ours.Exprs[:len(ours.Exprs)-2]),
				&expr.Lookup{SetName: "x"}, ours.Exprs[len(ours.Exprs)-1])},
			"only the comment": {UserData: ours.UserData},
			"nothing":          {},
		} {
			if equalRules(ours, other) {
				t.Errorf("%s: a rule with %s counts as ours", s.name, name)
			}
		}
	}
}

func TestEveryFormOfARuleIsKnown(t *testing.T) {
	for _, s := range mapSpecs() {
		for _, f := range []form{checkLast, checkFirst, noCheck} {
			want := f
			if s.byInterface {
				want = checkLast // it checks nothing in any form
			}
			if got, leads := s.formOf(s.rule(f)); !leads || got != want {
				t.Errorf("%s: form %d is read as form %d, %t", s.name, f, got, leads)
			}
		}
		for _, other := range mapSpecs() {
			if _, leads := s.formOf(other.rule(checkLast)); leads != (s == other) {
				t.Errorf("the rule of %s counts as that of %s", other.name, s.name)
			}
		}
	}
}

// kernelRegister converts a register to the number with which the kernel lists it.
func kernelRegister(r uint32) uint32 {
	if r >= unix.NFT_REG32_00 && (r-unix.NFT_REG32_00)%4 == 0 {
		return unix.NFT_REG_1 + (r-unix.NFT_REG32_00)/4
	}
	return r
}

package mark

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/ipvs"
)

// Behind the rules that mark, the table counts what they have marked, and counts it again where IPVS takes it over. What others do to
// packets in between shows as a difference:
//
//	set marked { type mark . inet_proto . inet_service; counter; }
//	set arrived { type mark . inet_proto . inet_service; counter; }
//	chain prerouting {
//		…
//		tcp flags & (syn | ack) != syn accept
//		meta mark . meta l4proto . th dport @marked
//	}
//	chain arrival {
//		type filter hook input priority 97; policy accept;
//		tcp flags & (syn | ack) != syn accept
//		meta mark . meta l4proto . th dport @arrived
//	}
//
// Of TCP only the packets that open connections count: IPVS knows the others by their connection, whatever their mark. The address is no
// part of the key, because another program's NAT may change it on the way.
const (
	arrivalName = "arrival"
	// arrivalPriority is before IPVS's own hooks, 98 and 99, and behind those of packet filters and security modules.
	arrivalPriority = 97
)

// Count is how many packets that open a connection, or packets of any kind without TCP, lb's rules have marked since the counter was made,
// and how many of them IPVS has seen.
type Count struct {
	Mark     ipvs.Mark
	Protocol string
	Port     uint16

	Marked, Arrived uint64
}

func arrivalChain() *nftables.Chain {
	accept, priority := nftables.ChainPolicyAccept, nftables.ChainPriority(arrivalPriority)
	return &nftables.Chain{
		Name: arrivalName, Table: table(), Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookInput, Priority: &priority,
	}
}

// countSpec describes a set of counters and the rules that count.
type countSpec struct {
	id    uint32 // within a transaction
	name  string
	chain func() *nftables.Chain
}

// countSpecs are the sets, in the order in which packets pass them.
func countSpecs() []countSpec { return []countSpec{{5, "marked", chain}, {6, "arrived", arrivalChain}} }

func (s countSpec) setName() string { return s.name }

func (s countSpec) set() (*nftables.Set, error) {
	key, err := nftables.ConcatSetType(nftables.TypeMark, nftables.TypeInetProto, nftables.TypeInetService)
	if err != nil {
		return nil, fmt.Errorf("key of set %s: %w", s.name, err)
	}
	return &nftables.Set{Table: table(), ID: s.id, Name: s.name, KeyType: key, Counter: true}, nil
}

// rules are those that count.
func (s countSpec) rules() []*nftables.Rule {
	const first, flags, syn, ack = unix.NFT_REG32_00, 13, 0x02, 0x10
	rule := func(comment string, exprs ...expr.Any) *nftables.Rule {
		return &nftables.Rule{
			Table: table(), Chain: s.chain(), Exprs: exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, "lb: "+comment),
		}
	}
	return []*nftables.Rule{
		rule("opens no connection",
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: first},
			&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: first, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
			&expr.Bitwise{SourceRegister: first, DestRegister: first, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: []byte{syn}},
			&expr.Verdict{Kind: expr.VerdictAccept},
		),
		rule(s.name,
			&expr.Meta{Key: expr.MetaKeyMARK, Register: first},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: first + 1},
			&expr.Payload{DestRegister: first + 2, Base: expr.PayloadBaseTransportHeader, Offset: destinationPort, Len: 2},
			&expr.Lookup{SourceRegister: first, SetName: s.name, SetID: s.id},
		),
	}
}

// areRules reports whether rules are those that count, and nothing else.
func (s countSpec) areRules(rules []*nftables.Rule) bool {
	return slices.EqualFunc(rules, s.rules(), equalRules)
}

// keys are the keys of the counters for a set of rules, sorted.
func (s countSpec) keys(rules []Rule) []element {
	var keys []element
	for _, r := range rules {
		number, _ := protocolNumber(r.Protocol)
		key := append(binary.NativeEndian.AppendUint32(nil, uint32(r.Mark)), number, 0, 0, 0)
		keys = append(keys, element{key: append(binary.BigEndian.AppendUint16(key, r.Port), 0, 0)})
	}
	slices.SortFunc(keys, compareElements)
	return slices.CompactFunc(keys, func(a, b element) bool { return compareElements(a, b) == 0 })
}

// parseKey converts a key to the count that it is of; false if lb makes no such key.
func (s countSpec) parseKey(key []byte) (Count, bool) {
	if len(key) != 12 {
		return Count{}, false
	}
	c := Count{Mark: ipvs.Mark(binary.NativeEndian.Uint32(key)), Port: binary.BigEndian.Uint16(key[8:])}
	for _, p := range protocols {
		if p.number == key[4] {
			c.Protocol = p.name
		}
	}
	return c, c.Protocol != ""
}

// Counts implements Table. The packets that were marked are read first: one that arrives meanwhile is no loss.
func (k *Kernel) Counts(ctx context.Context) ([]Count, error) {
	var counts []Count
	err := k.do(ctx, opCount, func(at *snapshot) (bool, error) {
		counts = nil
		if !at.state.counts() {
			return false, nil
		}
		specs := countSpecs()
		marked, err := k.readCounters(specs[0])
		if err != nil || len(marked) == 0 {
			return false, err
		}
		arrived, err := k.readCounters(specs[1])
		for key, packets := range marked {
			c, known := specs[0].parseKey([]byte(key))
			if at, counted := arrived[key]; known && counted {
				c.Marked, c.Arrived = packets, at
				counts = append(counts, c)
			}
		}
		return false, err
	})
	slices.SortFunc(counts, compareCounts)
	return counts, err
}

// counts reports whether all that counts is in its place.
func (s state) counts() bool {
	return s.chainValid && s.rulesValid && s.counting && s.arrival == arrivalState{true, true, true} &&
		!slices.ContainsFunc(s.sets, func(set mapState) bool { return !set.valid })
}

// readCounters reads the packets of a set's counters by key.
func (k *Kernel) readCounters(s countSpec) (map[string]uint64, error) {
	set, err := s.set()
	if err != nil {
		return nil, err
	}
	entries, err := k.reader.GetSetElements(set)
	if err != nil {
		return nil, fmt.Errorf("read the counters of set %s: %w", s.name, err)
	}
	packets := map[string]uint64{}
	for _, e := range entries {
		if e.Counter != nil { // kernels before 5.7 count nothing
			packets[string(e.Key)] = e.Counter.Packets
		}
	}
	return packets, nil
}

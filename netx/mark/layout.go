package mark

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/ipvs"
)

// The layout, without what count.go adds. A map that is empty has no rule, so that packets do not pay for it:
//
//	table inet lb {
//		map vip4 { type ipv4_addr . inet_proto . inet_service : mark; }
//		…
//		chain prerouting {
//			type filter hook prerouting priority mangle; policy accept;
//			meta iiftype != ipip meta mark set ip daddr . meta l4proto . th dport map @vip4
//			meta mark set iifname . ip daddr . meta l4proto . th dport map @vip4_interface
//			meta iiftype != ipip6 meta mark set ip6 daddr . meta l4proto . th dport map @vip6
//			meta mark set iifname . ip6 daddr . meta l4proto . th dport map @vip6_interface
//		}
//	}
//
// A rule whose map lacks the key has no effect. Those with an interface come later, so they take precedence. What comes out of a
// tunnel of the kind that IPVS sends through is balanced already: this machine is a node then, and must not balance it again. Only a
// rule that names the tunnel's interface marks it.
const (
	tableName = "lb"
	chainName = "prerouting"
)

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

func chain() *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return &nftables.Chain{
		Name: chainName, Table: table(), Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
	}
}

func equalChains(a, b *nftables.Chain) bool {
	return a.Name == b.Name && a.Type == b.Type && reflect.DeepEqual(a.Policy, b.Policy) &&
		reflect.DeepEqual(a.Hooknum, b.Hooknum) && reflect.DeepEqual(a.Priority, b.Priority)
}

// mapSpec describes one of the maps and its rule.
type mapSpec struct {
	id          uint32 // within a transaction
	name        string
	family      ipvs.Family
	byInterface bool
}

// mapSpecs returns the maps in the order of their rules.
func mapSpecs() []mapSpec {
	return []mapSpec{
		{1, "vip4", ipvs.IPv4, false},
		{2, "vip4_interface", ipvs.IPv4, true},
		{3, "vip6", ipvs.IPv6, false},
		{4, "vip6_interface", ipvs.IPv6, true},
	}
}

func (s mapSpec) contains(r Rule) bool {
	return ipvs.FamilyOf(r.Address) == s.family && (r.Interface != "") == s.byInterface
}

func (s mapSpec) setName() string { return s.name }

func (s mapSpec) set() (*nftables.Set, error) {
	var types []nftables.SetDatatype
	if s.byInterface {
		types = append(types, nftables.TypeIFName)
	}
	address := nftables.TypeIPAddr
	if s.family == ipvs.IPv6 {
		address = nftables.TypeIP6Addr
	}
	key, err := nftables.ConcatSetType(append(types, address, nftables.TypeInetProto, nftables.TypeInetService)...)
	if err != nil {
		return nil, fmt.Errorf("key of map %s: %w", s.name, err)
	}
	return &nftables.Set{
		Table: table(), ID: s.id, Name: s.name, IsMap: true, KeyType: key, DataType: nftables.TypeMark,
	}, nil
}

func equalSets(a, b *nftables.Set) bool {
	return a.IsMap == b.IsMap && a.KeyType.Name == b.KeyType.Name && a.KeyType.Bytes == b.KeyType.Bytes &&
		a.DataType.Name == b.DataType.Name && a.DataType.Bytes == b.DataType.Bytes &&
		!a.Constant && !a.Interval && !a.HasTimeout && !a.Dynamic && a.Size == 0
}

// setUserData tells nft the byte order of keys (0: 2, big endian) and marks (1: 1, native). google/nftables 0.3.0 omits
// that of the marks; nft would then list 7 as 0x07000000, and restore that.
func setUserData() []byte {
	data := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, 2)
	return userdata.AppendUint32(data, userdata.NFTNL_UDATA_SET_DATABYTEORDER, 1)
}

// Offsets in bytes of the fields in the maps' keys.
const (
	ipv4Destination = 16
	ipv6Destination = 24
	destinationPort = 2 // the same in TCP, UDP and SCTP
)

// form is a way to write the rule of a map.
type form uint8

const (
	checkLast  form = iota // as lb writes it: the tunnel is checked after the map, so only packets for a virtual IP pay for that
	checkFirst             // as nft writes what it has listed; the effect is the same
	noCheck                // as lb wrote it before it checked for a tunnel
)

func (s mapSpec) rule(f form) *nftables.Rule {
	protocol, offset, length := byte(unix.NFPROTO_IPV4), uint32(ipv4Destination), uint32(4)
	if s.family == ipvs.IPv6 {
		protocol, offset, length = unix.NFPROTO_IPV6, ipv6Destination, 16
	}
	const first = unix.NFT_REG32_00
	next := uint32(first) // register, 4 bytes each
	var exprs []expr.Any
	if !s.byInterface && f == checkFirst {
		exprs = s.notTunnelled(first)
	}
	exprs = append(exprs,
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{protocol}},
	)
	if s.byInterface {
		exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: next})
		next += unix.IFNAMSIZ / 4
	}
	exprs = append(exprs,
		&expr.Payload{DestRegister: next, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next + length/4},
		&expr.Payload{DestRegister: next + length/4 + 1, Base: expr.PayloadBaseTransportHeader, Offset: destinationPort, Len: 2},
		&expr.Lookup{SourceRegister: first, DestRegister: first, IsDestRegSet: true, SetName: s.name, SetID: s.id},
	)
	if !s.byInterface && f == checkLast {
		exprs = append(exprs, s.notTunnelled(first+1)...) // the first register has the mark
	}
	exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: first})
	return &nftables.Rule{
		Table: table(), Chain: chain(), Exprs: exprs,
		UserData: userdata.AppendString(nil, userdata.TypeComment, "lb: "+s.name),
	}
}

// notTunnelled continues with packets that did not come out of a tunnel that carries the family in its own. Through such tunnels IPVS
// sends to nodes. Clients' packets may come out of other kinds, such as GRE.
func (s mapSpec) notTunnelled(register uint32) []expr.Any {
	kind := uint16(unix.ARPHRD_TUNNEL)
	if s.family == ipvs.IPv6 {
		kind = unix.ARPHRD_TUNNEL6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: register},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binary.NativeEndian.AppendUint16(nil, kind)},
	}
}

// formOf returns the form of a rule that leads to the map; false if it does not.
func (s mapSpec) formOf(r *nftables.Rule) (form, bool) {
	for _, f := range []form{checkLast, checkFirst, noCheck} {
		if equalRules(r, s.rule(f)) {
			return f, true
		}
	}
	return 0, false
}

// equalRules compares comment and expressions. The kernel returns registers with other numbers, so it compares
// exprString.
func equalRules(a, b *nftables.Rule) bool {
	return string(a.UserData) == string(b.UserData) && exprString(a.Exprs) == exprString(b.Exprs)
}

func exprString(exprs []expr.Any) string {
	var b strings.Builder
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			fmt.Fprintf(&b, "meta %d %t %d\n", e.Key, e.SourceRegister, canonicalRegister(e.Register))
		case *expr.Cmp:
			fmt.Fprintf(&b, "cmp %d %d %x\n", e.Op, canonicalRegister(e.Register), e.Data)
		case *expr.Payload:
			fmt.Fprintf(&b, "payload %d %d %d %d %d\n", e.OperationType, canonicalRegister(e.DestRegister), e.Base, e.Offset, e.Len)
		case *expr.Lookup:
			fmt.Fprintf(&b, "lookup %d %d %t %s %t\n",
				canonicalRegister(e.SourceRegister), canonicalRegister(e.DestRegister), e.IsDestRegSet, e.SetName, e.Invert)
		case *expr.Bitwise:
			fmt.Fprintf(&b, "bitwise %d %d %d %x %x\n",
				canonicalRegister(e.SourceRegister), canonicalRegister(e.DestRegister), e.Len, e.Mask, e.Xor)
		case *expr.Verdict:
			fmt.Fprintf(&b, "verdict %d %s\n", e.Kind, e.Chain)
		default:
			fmt.Fprintf(&b, "%T\n", e)
		}
	}
	return b.String()
}

// canonicalRegister converts the number of a 16-byte register (1 to 4) to that of the first 4-byte register (8 to 23)
// in it.
func canonicalRegister(r uint32) uint32 {
	if r >= unix.NFT_REG_1 && r <= unix.NFT_REG_4 {
		return unix.NFT_REG32_00 + (r-unix.NFT_REG_1)*4
	}
	return r
}

// key returns a rule's key in the map: each field padded with zeroes to 4 bytes, numbers big endian.
func (s mapSpec) key(r Rule) []byte {
	var key []byte
	if s.byInterface {
		key = append(key, make([]byte, unix.IFNAMSIZ)...)
		copy(key, r.Interface)
	}
	key = append(key, r.Address.AsSlice()...)
	number, _ := protocolNumber(r.Protocol)
	key = append(key, number, 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, r.Port), 0, 0)
}

// parseKey converts a map entry to a rule. For a protocol other than lb's, added by hand, the name is its number.
func (s mapSpec) parseKey(key []byte, mark ipvs.Mark) (Rule, error) {
	r := Rule{Mark: mark}
	if s.byInterface && len(key) >= unix.IFNAMSIZ {
		r.Interface = unix.ByteSliceToString(key[:unix.IFNAMSIZ])
		key = key[unix.IFNAMSIZ:]
	}
	length := 4
	if s.family == ipvs.IPv6 {
		length = 16
	}
	if len(key) != length+8 {
		return r, errors.New("map " + s.name + " has a key of an unexpected length")
	}
	r.Address, _ = netip.AddrFromSlice(key[:length])
	number := key[length]
	r.Protocol = strconv.Itoa(int(number))
	for _, p := range protocols {
		if p.number == number {
			r.Protocol = p.name
		}
	}
	r.Port = binary.BigEndian.Uint16(key[length+4:])
	return r, nil
}

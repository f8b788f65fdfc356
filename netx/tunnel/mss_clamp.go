package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Names in the table, and the number of addresses per message, which must stay below 64 KiB.
const (
	chainName          = "answers"
	setName            = "vips"
	elementsPerMessage = 500
)

// commentPrefix precedes the MSS in the rule's comment, which `nft list` shows. lb recognises its rule by the comment,
// because the kernel returns expressions in another form than they were sent.
const commentPrefix = "lb: room for the tunnel, mss "

// readClamp reads the table: nil if there is none, a zero MSSClamp if it is not as lb writes it.
func readClamp() (*MSSClamp, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	t, err := c.ListTableOfFamily(table, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) || err == nil && t == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read nftables table inet %s: %w", table, explainErrno(err))
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", explainErrno(err))
	}
	chains = slices.DeleteFunc(chains, func(ch *nftables.Chain) bool { return ch.Table.Name != table })
	if len(chains) != 1 || chains[0].Name != chainName || chains[0].Hooknum == nil || *chains[0].Hooknum != *nftables.ChainHookOutput {
		return &MSSClamp{}, nil
	}
	rules, err := c.GetRules(t, chains[0])
	if err != nil {
		return nil, fmt.Errorf("list the rules of nftables table inet %s: %w", table, explainErrno(err))
	}
	set, err := c.GetSetByName(t, setName)
	if errors.Is(err, unix.ENOENT) {
		return &MSSClamp{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s of nftables table inet %s: %w", setName, table, explainErrno(err))
	}
	elements, err := c.GetSetElements(set)
	if err != nil {
		return nil, fmt.Errorf("list set %s of nftables table inet %s: %w", setName, table, explainErrno(err))
	}
	return parseClamp(rules, elements), nil
}

// parseClamp reverses writeClamp; a zero MSSClamp if lb did not write the rules.
func parseClamp(rules []*nftables.Rule, elements []nftables.SetElement) *MSSClamp {
	if len(rules) != 1 {
		return &MSSClamp{}
	}
	text, _ := userdata.GetString(rules[0].UserData, userdata.TypeComment)
	size, ours := strings.CutPrefix(text, commentPrefix)
	mss, err := strconv.Atoi(size)
	if !ours || err != nil {
		return &MSSClamp{}
	}
	clamp := &MSSClamp{MSS: mss}
	for _, e := range elements {
		if a, ok := netip.AddrFromSlice(e.Key); ok {
			clamp.VIPs = append(clamp.VIPs, a)
		}
	}
	slices.SortFunc(clamp.VIPs, netip.Addr.Compare)
	return clamp
}

// writeClamp replaces the whole table in one transaction, whatever it contains.
func writeClamp(clamp MSSClamp) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyINet}
	c.AddTable(t) // so that there is a table to delete
	c.DelTable(t)
	c.AddTable(t)
	set := &nftables.Set{Table: t, Name: setName, KeyType: nftables.TypeIPAddr}
	if err := c.AddSet(set, nil); err != nil {
		return fmt.Errorf("build set %s: %w", setName, err)
	}
	for chunk := range slices.Chunk(clamp.VIPs, elementsPerMessage) {
		var elements []nftables.SetElement
		for _, v := range chunk {
			elements = append(elements, nftables.SetElement{Key: v.AsSlice()})
		}
		if err := c.SetAddElements(set, elements); err != nil {
			return fmt.Errorf("build set %s: %w", setName, err)
		}
	}
	chain := c.AddChain(&nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
	})
	c.AddRule(&nftables.Rule{
		Table: t, Chain: chain, Exprs: clampRule(set, clamp.MSS),
		UserData: userdata.AppendString(nil, userdata.TypeComment, commentPrefix+strconv.Itoa(clamp.MSS)),
	})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", explainErrno(err))
	}
	return nil
}

// clampRule is `ip saddr @vips tcp flags syn tcp option maxseg size set MSS`. The kernel lowers the MSS but never
// raises it.
func clampRule(set *nftables.Set, mss int) []expr.Any {
	const (
		register   = unix.NFT_REG_1
		sourceAt   = 12 // offset in the IPv4 header
		flagsAt    = 13 // offset in the TCP header
		syn        = 0x02
		maxSegment = 2 // kind of the TCP option
		sizeAt     = 2 // offset in the option
	)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAt, Len: 4},
		&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{syn}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte{0}},
		&expr.Immediate{Register: register, Data: binary.BigEndian.AppendUint16(nil, uint16(mss))},
		&expr.Exthdr{SourceRegister: register, Type: maxSegment, Offset: sizeAt, Len: 2, Op: expr.ExthdrOpTcpopt},
	}
}

// deleteClamp deletes the table; it is no error if there is none.
func deleteClamp() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	c.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("nftables: %w", explainErrno(err))
	}
	return nil
}

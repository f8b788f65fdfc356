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

	"github.com/braintree/lb/netx"
)

// chainName is the chain's name in the table.
const chainName = "answers"

// elementsPerMessage is the number of addresses in one message, which must stay below 64 KiB.
const elementsPerMessage = 500

// clampNames are the names in the table for one family. The comment precedes the MSS in the rule's comment, which `nft list`
// shows. lb recognises its rules by their comments, because the kernel returns expressions in another form than they were sent.
type clampNames struct{ set, comment string }

// names returns the family's names in the table.
func (f family) names() clampNames {
	if f.bits == ipv6.bits {
		return clampNames{"vips6", "lb: room for the IPv6 tunnel, mss "}
	}
	return clampNames{"vips", "lb: room for the tunnel, mss "}
}

// readAttempts is how often a read restarts because the kernel's state changed during it.
const readAttempts = 5

// readClamp reads the table: nil if there is none, a zero MSSClamp if it is not as lb writes it.
func readClamp() (clamp *MSSClamp, err error) {
	for range readAttempts {
		// A read consists of several requests. Another program may delete the table between them.
		if clamp, err = readClampOnce(); err == nil || errors.Is(err, netx.ErrNoPrivilege) {
			break
		}
	}
	return clamp, err
}

func readClampOnce() (*MSSClamp, error) {
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
	if t.Flags != 0 || len(chains) != 1 || !isClampChain(chains[0]) { // with the flag dormant a table has no effect
		return &MSSClamp{}, nil
	}
	rules, err := c.GetRules(t, chains[0])
	if err != nil {
		return nil, fmt.Errorf("list the rules of nftables table inet %s: %w", table, explainErrno(err))
	}
	sets, err := c.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list the sets of nftables table inet %s: %w", table, explainErrno(err))
	}
	elements := map[string][]nftables.SetElement{}
	for _, s := range sets {
		if elements[s.Name], err = c.GetSetElements(s); err != nil {
			return nil, fmt.Errorf("list set %s of nftables table inet %s: %w", s.Name, table, explainErrno(err))
		}
	}
	return parseClamp(rules, elements), nil
}

// isClampChain reports whether a chain is hooked where lb's is.
func isClampChain(c *nftables.Chain) bool {
	return c.Name == chainName && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookOutput &&
		c.Priority != nil && *c.Priority == *nftables.ChainPriorityMangle
}

// parseClamp reverses writeClamp; a zero MSSClamp if lb did not write the rules. elements are those of each set.
func parseClamp(rules []*nftables.Rule, elements map[string][]nftables.SetElement) *MSSClamp {
	clamp := &MSSClamp{}
	for _, r := range rules {
		text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		f, size := ipv4, &clamp.MSS
		number, ours := strings.CutPrefix(text, f.names().comment)
		if !ours {
			f, size = ipv6, &clamp.MSS6
			number, ours = strings.CutPrefix(text, f.names().comment)
		}
		mss, err := strconv.Atoi(number)
		if !ours || err != nil || *size != 0 {
			return &MSSClamp{}
		}
		*size = mss
		for _, e := range elements[f.names().set] {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				clamp.VIPs = append(clamp.VIPs, a)
			}
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
	chain := c.AddChain(&nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
	})
	for _, part := range []struct {
		family
		key nftables.SetDatatype
		mss int
	}{{ipv4, nftables.TypeIPAddr, clamp.MSS}, {ipv6, nftables.TypeIP6Addr, clamp.MSS6}} {
		vips := part.of(clamp.VIPs)
		if len(vips) == 0 {
			continue
		}
		set := &nftables.Set{Table: t, Name: part.names().set, KeyType: part.key}
		if err := addSet(c, set, vips); err != nil {
			return fmt.Errorf("build set %s: %w", set.Name, err)
		}
		c.AddRule(&nftables.Rule{
			Table: t, Chain: chain, Exprs: clampRule(part.family, set, part.mss),
			UserData: userdata.AppendString(nil, userdata.TypeComment, part.names().comment+strconv.Itoa(part.mss)),
		})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", explainErrno(err))
	}
	return nil
}

// addSet adds a set with the virtual IPs to the transaction.
func addSet(c *nftables.Conn, set *nftables.Set, vips []netip.Addr) error {
	if err := c.AddSet(set, nil); err != nil {
		return err
	}
	for chunk := range slices.Chunk(vips, elementsPerMessage) {
		var elements []nftables.SetElement
		for _, v := range chunk {
			elements = append(elements, nftables.SetElement{Key: v.AsSlice()})
		}
		if err := c.SetAddElements(set, elements); err != nil {
			return err
		}
	}
	return nil
}

// clampRule is `ip saddr @vips tcp flags syn tcp option maxseg size set MSS`, or the same with ip6. The kernel lowers the MSS
// but never raises it.
func clampRule(f family, set *nftables.Set, mss int) []expr.Any {
	const (
		register   = unix.NFT_REG_1
		flagsAt    = 13 // offset in the TCP header
		syn        = 0x02
		maxSegment = 2 // kind of the TCP option
		sizeAt     = 2 // offset in the option
	)
	protocol, sourceAt := byte(unix.NFPROTO_IPV4), uint32(12) // offset in the IP header
	if f.bits == ipv6.bits {
		protocol, sourceAt = unix.NFPROTO_IPV6, 8
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{protocol}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAt, Len: uint32(f.bits / 8)},
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

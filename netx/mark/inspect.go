package mark

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/ipvs"
)

// Kind is what something of another program does to packets.
type Kind uint8

// The kinds.
const (
	ChangesMarks Kind = iota // sets marks behind lb's rules
	Drops                    // drops packets between lb's rules and IPVS
	Routes                   // sends packets with a mark of lb's elsewhere than to this machine
	Harmless                 // looks at marks or sets them, and does no harm
)

// Foreign is something of another program that can keep packets with lb's marks from IPVS.
type Foreign struct {
	Kind   Kind
	What   string // what it is and does: "chain ip filter INPUT (input, priority 0) drops packets"
	Show   string // the command that shows it
	Always bool   // it does so to every packet; else to those that match some condition
}

// Inspection is what others have set up around lb's rules.
type Inspection struct {
	Foreign []Foreign
	Local   map[netip.Addr]bool // the virtual IPs whose packets the routing tables deliver to this machine, with lb's mark or without it
}

// Suspects are the likeliest causes of a loss: what does harm to every packet; without that, a few that do harm to some.
func (in Inspection) Suspects() []Foreign {
	const most = 3
	var always, some []Foreign
	for _, f := range in.Foreign {
		switch {
		case f.Kind == Harmless:
		case f.Always:
			always = append(always, f)
		default:
			some = append(some, f)
		}
	}
	if len(always) > 0 {
		return always
	}
	return some[:min(most, len(some))]
}

// Inspect lists what can keep packets with the marks of rules from IPVS.
func (k *Kernel) Inspect(ctx context.Context, rules []Rule) (Inspection, error) {
	in := Inspection{Local: map[netip.Addr]bool{}}
	err := k.do(ctx, opInspect, func(*snapshot) (bool, error) {
		chains, err := k.readBaseChains()
		if err != nil {
			return false, err
		}
		in.Foreign = foreignChains(chains)
		policies, err := k.readPolicies()
		if err != nil {
			return false, err
		}
		for _, r := range rules {
			plain := k.routedHere(r.Address, 0)
			here := k.routedHere(r.Address, r.Mark)
			in.Local[r.Address] = in.Local[r.Address] || plain || here
			for _, p := range policies {
				if p.matches(r) {
					in.Foreign = append(in.Foreign, p.foreign(r, plain && !here))
				}
			}
		}
		slices.SortFunc(in.Foreign, compareForeign)
		in.Foreign = slices.Compact(in.Foreign)
		return false, nil
	})
	return in, err
}

// chainKey names a chain.
type chainKey struct {
	family       byte
	table, chain string
}

// tableName is the table of the chain.
func (c chainKey) tableName() string {
	return map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}[c.family] + " " + c.table
}

func (c chainKey) String() string { return c.tableName() + " " + c.chain }

// baseChain is a chain that packets pass between lb's rules and IPVS, or before lb's rules, and what it does, itself or by jumps.
type baseChain struct {
	chainKey
	hook       uint32
	priority   int32
	policyDrop bool

	effects chainEffects
}

// chainEffects is what the rules of a chain do.
type chainEffects struct {
	marks, drops             bool
	marksAlways, dropsAlways bool
	jumps                    []string
	branched                 bool // a rule may have ended the chain for some packets
}

// readBaseChains reads the chains of other programs in prerouting and input.
func (k *Kernel) readBaseChains() ([]baseChain, error) {
	dump := func(message uint16) ([]netlink.Message, error) {
		return k.writer.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message),
				Flags: netlink.Request | netlink.Dump,
			},
			Data: make([]byte, headerLength),
		})
	}
	chains, err := dump(unix.NFT_MSG_GETCHAIN)
	if err != nil {
		return nil, fmt.Errorf("read the chains of nftables: %w", err)
	}
	rules, err := dump(unix.NFT_MSG_GETRULE)
	if err != nil {
		return nil, fmt.Errorf("read the rules of nftables: %w", err)
	}
	effects := map[chainKey]*chainEffects{}
	for _, m := range rules {
		key, exprs := parseRule(m.Data)
		if effects[key] == nil {
			effects[key] = &chainEffects{}
		}
		effects[key].add(exprs)
	}
	var base []baseChain
	for _, m := range chains {
		if c, ok := parseChain(m.Data); ok && (c.family != unix.NFPROTO_INET || c.table != tableName) {
			c.effects = follow(effects, c.chainKey, map[chainKey]bool{})
			base = append(base, c)
		}
	}
	return base, nil
}

// follow unites the effects of a chain with those of the chains that it jumps to.
func follow(effects map[chainKey]*chainEffects, key chainKey, seen map[chainKey]bool) chainEffects {
	if effects[key] == nil || seen[key] {
		return chainEffects{}
	}
	seen[key] = true
	all := *effects[key]
	for _, chain := range all.jumps {
		next := follow(effects, chainKey{key.family, key.table, chain}, seen)
		all.marks, all.drops = all.marks || next.marks, all.drops || next.drops
	}
	return all
}

// foreignChains lists what the chains do to packets that lb marks.
func foreignChains(chains []baseChain) []Foreign {
	const lbPriority = -150 // of lb's chain: NF_IP_PRI_MANGLE
	var found []Foreign
	for _, c := range chains {
		hook := "prerouting"
		if c.hook == unix.NF_INET_LOCAL_IN {
			hook = "input"
		}
		if hook == "input" && c.priority > arrivalPriority {
			continue
		}
		add := func(kind Kind, does string, always bool) {
			found = append(found, Foreign{Kind: kind, Always: always, Show: "`nft list table " + c.tableName() + "`",
				What: fmt.Sprintf("chain %s (%s, priority %d) %s", c.chainKey, hook, c.priority, does)})
		}
		behind := hook == "input" || c.priority >= lbPriority
		switch {
		case c.effects.marks && behind:
			add(ChangesMarks, "sets marks behind lb's rules", c.effects.marksAlways)
		case c.effects.marks:
			add(Harmless, "sets marks before lb's rules do", c.effects.marksAlways)
		}
		if behind && (c.effects.drops || c.policyDrop) {
			add(Drops, "drops packets", c.effects.dropsAlways)
		}
	}
	return found
}

// routedHere reports whether the routing tables deliver packets to an address to this machine. Packets have the mark; 0 is none.
func (k *Kernel) routedHere(to netip.Addr, m ipvs.Mark) bool {
	family, bits := byte(unix.AF_INET), byte(32)
	if to.Is6() {
		family, bits = unix.AF_INET6, 128
	}
	attributes := []netlink.Attribute{{Type: unix.RTA_DST, Data: to.AsSlice()}}
	if m != 0 {
		attributes = append(attributes, netlink.Attribute{Type: unix.RTA_MARK, Data: binary.NativeEndian.AppendUint32(nil, uint32(m))})
	}
	encoded, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return false
	}
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1] = family, bits
	replies, err := k.routes.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data:   append(header, encoded...),
	})
	// An error is a route that is a black hole, or none.
	return err == nil && len(replies) > 0 && len(replies[0].Data) >= unix.SizeofRtMsg && replies[0].Data[7] == unix.RTN_LOCAL
}

// policy is a rule of policy routing that looks at marks.
type policy struct {
	family     byte
	priority   uint32
	mark, mask uint32
}

func (p policy) matches(r Rule) bool {
	is6 := p.family == unix.AF_INET6
	return r.Address.Is6() == is6 && uint32(r.Mark)&p.mask == p.mark&p.mask
}

// foreign describes the policy for packets of a rule.
func (p policy) foreign(r Rule, away bool) Foreign {
	family := "-4"
	if p.family == unix.AF_INET6 {
		family = "-6"
	}
	f := Foreign{Kind: Harmless, Show: fmt.Sprintf("`ip %s rule list pref %d`", family, p.priority), Always: away,
		What: fmt.Sprintf("ip rule %d matches mark %d, and its packets still reach this machine", p.priority, r.Mark)}
	if away {
		f.Kind = Routes
		f.What = fmt.Sprintf("ip rule %d sends packets with mark %d elsewhere", p.priority, r.Mark)
	}
	return f
}

// readPolicies reads the rules of policy routing that look at marks.
func (k *Kernel) readPolicies() ([]policy, error) {
	const headerSize, fwmark, priority, fwmask = 12, 10, 6, 16 // struct fib_rule_hdr; FRA_FWMARK, FRA_PRIORITY, FRA_FWMASK
	replies, err := k.routes.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETRULE, Flags: netlink.Request | netlink.Dump}, Data: make([]byte, headerSize),
	})
	if err != nil {
		return nil, fmt.Errorf("read the rules of policy routing: %w", err)
	}
	var policies []policy
	for _, m := range replies {
		if len(m.Data) < headerSize {
			continue
		}
		p := policy{family: m.Data[0], mask: 1<<32 - 1}
		ad, err := netlink.NewAttributeDecoder(m.Data[headerSize:])
		if err != nil {
			return nil, fmt.Errorf("read the rules of policy routing: %w", err)
		}
		for ad.Next() {
			switch ad.Type() {
			case fwmark:
				p.mark = ad.Uint32()
			case fwmask:
				p.mask = ad.Uint32()
			case priority:
				p.priority = ad.Uint32()
			}
		}
		if p.mark != 0 && (p.family == unix.AF_INET || p.family == unix.AF_INET6) {
			policies = append(policies, p)
		}
	}
	return policies, nil
}

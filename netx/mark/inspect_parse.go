package mark

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// parsed is an expression of another program's rule, as far as it matters here.
type parsed struct {
	name string // as the kernel names it: meta, cmp, immediate
	data []byte // attributes
}

// attributes calls f for each attribute. What is cut off is left out: other programs' rules only have to be recognized.
func attributes(data []byte, f func(kind uint16, value []byte)) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return
	}
	for ad.Next() {
		f(ad.Type(), ad.Bytes())
	}
}

// number is a big-endian attribute of 4 bytes.
func number(value []byte) uint32 {
	if len(value) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}

// parseChain reads a chain. It returns false for all but those in prerouting and input that see IP packets.
func parseChain(data []byte) (baseChain, bool) {
	if len(data) < headerLength {
		return baseChain{}, false
	}
	c, hooked := baseChain{chainKey: chainKey{family: data[0]}}, false
	attributes(data[headerLength:], func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			c.table = unix.ByteSliceToString(value)
		case unix.NFTA_CHAIN_NAME:
			c.chain = unix.ByteSliceToString(value)
		case unix.NFTA_CHAIN_POLICY:
			c.policyDrop = number(value) == verdictDrop
		case unix.NFTA_CHAIN_HOOK:
			hooked = true
			attributes(value, func(kind uint16, value []byte) {
				switch kind {
				case unix.NFTA_HOOK_HOOKNUM:
					c.hook = number(value)
				case unix.NFTA_HOOK_PRIORITY:
					c.priority = int32(number(value))
				}
			})
		}
	})
	ip := c.family == unix.NFPROTO_INET || c.family == unix.NFPROTO_IPV4 || c.family == unix.NFPROTO_IPV6
	return c, hooked && ip && (c.hook == unix.NF_INET_PRE_ROUTING || c.hook == unix.NF_INET_LOCAL_IN)
}

// parseRule reads a rule: its chain and its expressions.
func parseRule(data []byte) (chainKey, []parsed) {
	if len(data) < headerLength {
		return chainKey{}, nil
	}
	key := chainKey{family: data[0]}
	var exprs []parsed
	attributes(data[headerLength:], func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			key.table = unix.ByteSliceToString(value)
		case unix.NFTA_RULE_CHAIN:
			key.chain = unix.ByteSliceToString(value)
		case unix.NFTA_RULE_EXPRESSIONS:
			attributes(value, func(_ uint16, element []byte) {
				var e parsed
				attributes(element, func(kind uint16, value []byte) {
					switch kind {
					case unix.NFTA_EXPR_NAME:
						e.name = unix.ByteSliceToString(value)
					case unix.NFTA_EXPR_DATA:
						e.data = value
					}
				})
				exprs = append(exprs, e)
			})
		}
	})
	return key, exprs
}

// add adds what a rule does.
func (c *chainEffects) add(rule []parsed) {
	always := !c.branched // every packet gets here: no expression so far needs it to match something
	for _, e := range rule {
		switch e.name {
		case "meta":
			if e.setsMark() {
				c.marks, c.marksAlways = true, c.marksAlways || always
			}
		case "target": // of iptables
			attributes(e.data, func(kind uint16, value []byte) {
				if name := unix.ByteSliceToString(value); kind == unix.NFTA_TARGET_NAME && (name == "MARK" || name == "CONNMARK") {
					c.marks, c.marksAlways = true, c.marksAlways || always
				}
			})
		case "reject":
			c.drops, c.dropsAlways = true, c.dropsAlways || always
		case "immediate":
			verdict, chain := e.verdict()
			switch verdict {
			case verdictDrop:
				c.drops, c.dropsAlways = true, c.dropsAlways || always
			case unix.NFT_JUMP, unix.NFT_GOTO:
				c.jumps, c.branched = append(c.jumps, chain), true
			case noVerdict:
			default: // accept, return, queue
				c.branched = true
			}
		case "bitwise", "byteorder", "counter", "log", "notrack":
		default: // cmp, lookup, range, limit, match and so on
			always = false
		}
	}
}

// setsMark reports whether a meta expression sets the packet's mark.
func (e parsed) setsMark() bool {
	var key uint32
	sets := false
	attributes(e.data, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_META_KEY:
			key = number(value)
		case unix.NFTA_META_SREG:
			sets = true
		}
	})
	return sets && key == unix.NFT_META_MARK
}

const (
	verdictDrop = 0       // NF_DROP
	noVerdict   = 1 << 20 // none of the kernel's
)

// verdict is the verdict of an immediate expression, and the chain that it jumps to.
func (e parsed) verdict() (verdict int32, chain string) {
	verdict = noVerdict
	attributes(e.data, func(kind uint16, data []byte) {
		if kind != unix.NFTA_IMMEDIATE_DATA {
			return
		}
		attributes(data, func(kind uint16, data []byte) {
			if kind != unix.NFTA_DATA_VERDICT {
				return
			}
			attributes(data, func(kind uint16, value []byte) {
				switch kind {
				case unix.NFTA_VERDICT_CODE:
					verdict = int32(number(value))
				case unix.NFTA_VERDICT_CHAIN:
					chain = unix.ByteSliceToString(value)
				}
			})
		})
	})
	return verdict, chain
}

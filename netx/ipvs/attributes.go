package ipvs

import (
	"encoding/binary"
	"errors"
)

// attributes are the body of a generic netlink message to IPVS (linux/netlink.h, linux/genetlink.h), written piece behind piece into a buffer
// that is used again. A library's encoder, with its closures and allocations, takes several times as long as the kernel
// needs for the change itself, and a cycle may have thousands. The same holds for each and number, which read them.
type attributes []byte

// command begins a body.
func (b attributes) command(command uint8) attributes {
	return append(b, command, genlVersion, 0, 0)
}

// open begins an attribute that holds others; close, with the place that it gives, ends it.
func (b attributes) beginNested(kind uint16) (opened attributes, at int) {
	const nested = 0x8000 // NLA_F_NESTED
	return b.header(kind|nested, 0), len(b)
}

func (b attributes) endNested(at int) attributes {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}

// head writes an attribute's length, for so many bytes, and its kind.
func (b attributes) header(kind uint16, size int) attributes {
	return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(b, uint16(4+size)), kind)
}

// pad fills up to a multiple of four bytes, as everything in netlink is.
func (b attributes) pad() attributes {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (b attributes) uint8(kind uint16, v uint8) attributes {
	return append(b.header(kind, 1), v, 0, 0, 0)
}

func (b attributes) uint16(kind, v uint16) attributes {
	return append(binary.NativeEndian.AppendUint16(b.header(kind, 2), v), 0, 0)
}

// port writes a number in network order.
func (b attributes) port(kind, v uint16) attributes {
	return append(binary.BigEndian.AppendUint16(b.header(kind, 2), v), 0, 0)
}

func (b attributes) uint32(kind uint16, v uint32) attributes {
	return binary.NativeEndian.AppendUint32(b.header(kind, 4), v)
}

// text writes a string that a zero byte ends.
func (b attributes) cString(kind uint16, s string) attributes {
	return append(append(b.header(kind, len(s)+1), s...), 0).pad()
}

// errCut says that a message ends within an attribute.
var errTruncated = errors.New("the kernel's message cannot be read: it ends within an attribute")

// each hands on the attributes of a body, or of an attribute that holds others, without the bits that stand above their kind.
func forEachAttribute(data []byte, f func(kind uint16, value []byte)) error {
	const kinds = 0x3fff // NLA_TYPE_MASK
	for len(data) > 0 {
		if len(data) < 4 {
			return errTruncated
		}
		size := int(binary.NativeEndian.Uint16(data))
		if size < 4 || size > len(data) {
			return errTruncated
		}
		f(binary.NativeEndian.Uint16(data[2:])&kinds, data[4:size])
		data = data[min((size+3)&^3, len(data)):]
	}
	return nil
}

// number reads a number of 8 to 64 bits; what has another size is 0.
func uintValue(value []byte) uint64 {
	switch len(value) {
	case 1:
		return uint64(value[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(value))
	case 4:
		return uint64(binary.NativeEndian.Uint32(value))
	case 8:
		return binary.NativeEndian.Uint64(value)
	}
	return 0
}

// bigEndian16 reads a number in network order.
func bigEndian16(value []byte) uint16 {
	if len(value) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(value)
}

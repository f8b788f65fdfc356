package ipvs

import (
	"encoding/binary"
	"errors"
)

// attributes is the body of a generic netlink message to IPVS (linux/netlink.h, linux/genetlink.h), appended to a
// reused buffer. A library's encoder, with its closures and allocations, takes several times as long as the kernel
// takes for the change itself, and a reconcile may make thousands. The same holds for the decoders forEachAttribute and
// uintValue.
type attributes []byte

// command begins a body.
func (b attributes) command(command uint8) attributes {
	return append(b, command, genlVersion, 0, 0)
}

// beginNested begins an attribute that contains others; endNested, with the offset that it returns, ends it.
func (b attributes) beginNested(kind uint16) (opened attributes, at int) {
	const nested = 0x8000 // NLA_F_NESTED
	return b.header(kind|nested, 0), len(b)
}

func (b attributes) endNested(at int) attributes {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}

// header appends an attribute's header: its length, for size bytes of data, and its type.
func (b attributes) header(kind uint16, size int) attributes {
	return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(b, uint16(4+size)), kind)
}

// pad aligns to four bytes, as netlink requires.
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

// port appends a number in network byte order.
func (b attributes) port(kind, v uint16) attributes {
	return append(binary.BigEndian.AppendUint16(b.header(kind, 2), v), 0, 0)
}

func (b attributes) uint32(kind uint16, v uint32) attributes {
	return binary.NativeEndian.AppendUint32(b.header(kind, 4), v)
}

// cString appends a zero-terminated string.
func (b attributes) cString(kind uint16, s string) attributes {
	return append(append(b.header(kind, len(s)+1), s...), 0).pad()
}

// errTruncated means that a message ends within an attribute.
var errTruncated = errors.New("cannot decode the kernel's message: it ends within an attribute")

// forEachAttribute calls f with the type, without its flag bits, and data of each attribute in a body or nested
// attribute.
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

// uintValue decodes a number of 8 to 64 bits; other sizes give 0.
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

// bigEndian16 decodes a number in network byte order.
func bigEndian16(value []byte) uint16 {
	if len(value) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(value)
}

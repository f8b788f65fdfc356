package ipvs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	mathbits "math/bits"
	"net/netip"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// lb encodes its own messages, except for reading services, because moby/ipvs 1.1.0
//   - sends one message at a time and waits for each response;
//   - sends no address family for a destination, so an IPv4 service can neither get nor lose an IPv6 destination;
//   - omits the encapsulation, and the kernel replaces a destination whole: each new weight turns GUE and GRE into IPIP;
//   - reads only 16 of a weight's 32 bits, and no encapsulation.
//
// The numbers below are those of linux/ip_vs.h.
const (
	genlVersion = 1 // IPVS_GENL_VERSION

	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3

	cmdNewDest = 5
	cmdSetDest = 6
	cmdDelDest = 7
	cmdGetDest = 8
	cmdGetInfo = 15

	attrService = 1 // in a command
	attrDest    = 2

	attrServiceFamily    = 1 // in a service
	attrServiceMark      = 5
	attrServiceScheduler = 6 // zero-terminated
	attrServiceFlags     = 7 // struct ip_vs_flags: flags and mask
	attrServiceTimeout   = 8 // seconds, 32 bits
	attrServiceNetmask   = 9 // 32 bits; IPv4: mask in network byte order; IPv6: prefix length, 0 is rejected

	attrDestAddress    = 1  // 16 bytes, IPv4 in the first 4
	attrDestPort       = 2  // big endian
	attrDestForwarding = 3  // the lowest 3 bits
	attrDestWeight     = 4  // 32 bits, signed, non-negative
	attrDestUpper      = 5  // 32 bits
	attrDestLower      = 6  // 32 bits
	attrDestActive     = 7  // 32 bits
	attrDestInactive   = 8  // 32 bits
	attrDestFamily     = 11 // 16 bits; since Linux 3.18
	attrDestStats      = 12 // nested, 64 bits each; since Linux 4.0
	attrDestEncapType  = 13 // 8 bits; since Linux 5.3, like the next two
	attrDestEncapPort  = 14 // big endian
	attrDestEncapFlags = 15 // 16 bits

	attrStatsConns      = 1 // in the statistics
	attrStatsPacketsIn  = 2
	attrStatsPacketsOut = 3
	attrStatsBytesIn    = 4
	attrStatsBytesOut   = 5

	forwardingMask = 0x7 // IP_VS_CONN_F_FWD_MASK
)

// checkPrivilege sends a harmless query, which the kernel also rejects without CAP_NET_ADMIN.
func (k *Kernel) checkPrivilege() error {
	_, err := k.genl.Execute(genetlink.Message{Header: genetlink.Header{Command: cmdGetInfo, Version: genlVersion}},
		k.family, netlink.Request)
	if err != nil {
		return explainErrno(fmt.Errorf("query the version of IPVS: %w", err))
	}
	return nil
}

// encode appends the message for an attempt.
func encode(b attributes, a attempt) attributes {
	switch a.verb {
	case opPutService:
		if a.add {
			return encodeService(b.command(cmdNewService), a.service)
		}
		return encodeService(b.command(cmdSetService), a.service)
	case opDeleteService:
		return encodeServiceKey(b.command(cmdDelService), a.service.Key)
	case opDeleteDestination:
		return encodeDestination(b.command(cmdDelDest), a.service.Key, a.destination)
	}
	if a.add {
		return encodeDestination(b.command(cmdNewDest), a.service.Key, a.destination)
	}
	return encodeDestination(b.command(cmdSetDest), a.service.Key, a.destination)
}

func (k *Kernel) destinations(key Key) ([]Destination, error) {
	var ds []Destination
	request := func(b attributes) attributes { return encodeServiceKey(b.command(cmdGetDest), key) }
	err := k.conn.dump(k.family, request, func(data []byte) error {
		d, err := decodeDestination(key.Family, data)
		ds = append(ds, d)
		return err
	})
	return ds, err
}

// encodeKey appends the attributes that identify a service, within the service attribute.
func encodeKey(b attributes, k Key) attributes {
	return b.uint16(attrServiceFamily, addressFamily(k.Family)).uint32(attrServiceMark, uint32(k.Mark))
}

// encodeServiceKey appends a service attribute with nothing but the key.
func encodeServiceKey(b attributes, k Key) attributes {
	b, at := b.beginNested(attrService)
	return encodeKey(b, k).endNested(at)
}

// encodeService appends all settings of a service: the kernel replaces it whole.
func encodeService(b attributes, s Service) attributes {
	b, at := b.beginNested(attrService)
	b = encodeKey(b, s.Key).cString(attrServiceScheduler, s.Scheduler)
	b = binary.NativeEndian.AppendUint32(b.header(attrServiceFlags, 8), uint32(s.Flags))
	b = binary.NativeEndian.AppendUint32(b, math.MaxUint32)
	b = b.uint32(attrServiceTimeout, uint32(s.Timeout/time.Second))
	return append(b.header(attrServiceNetmask, 4), netmask(s.Family, s.Prefix)...).endNested(at)
}

func addressFamily(f Family) uint16 {
	if f == IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// netmask returns a prefix in the kernel's form; 0 gives the full length.
func netmask(f Family, prefix uint8) []byte {
	if f == IPv6 {
		return binary.NativeEndian.AppendUint32(nil, uint32(cmp.Or(prefix, fullPrefixIPv6)))
	}
	return binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(fullPrefixIPv4-cmp.Or(prefix, fullPrefixIPv4)))
}

// prefixOf converts a netmask read as a native number: 0 for full length, invalidPrefix for a mask that is no prefix.
func prefixOf(f Family, mask uint32) uint8 {
	if f == IPv6 {
		if mask == fullPrefixIPv6 {
			return 0
		}
		return uint8(min(mask, invalidPrefix))
	}
	bits := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, mask))
	prefix := uint8(mathbits.OnesCount32(bits))
	switch {
	case prefix == fullPrefixIPv4:
		return 0
	case prefix == 0 || bits != ^uint32(0)<<(fullPrefixIPv4-prefix):
		return invalidPrefix
	}
	return prefix
}

// encodeDestination appends all settings of a destination: the kernel replaces it whole.
func encodeDestination(b attributes, key Key, d Destination) attributes {
	b, at := encodeServiceKey(b, key).beginNested(attrDest)
	b = b.header(attrDestAddress, 16)
	if d.Address.Is4() {
		four := d.Address.As4()
		b = append(append(b, four[:]...), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	} else {
		six := d.Address.As16()
		b = append(b, six[:]...)
	}
	b = b.port(attrDestPort, d.Port)
	b = b.uint32(attrDestForwarding, uint32(d.Forwarding))
	b = b.uint32(attrDestWeight, uint32(d.Weight))
	b = b.uint32(attrDestUpper, d.Upper)
	b = b.uint32(attrDestLower, d.Lower)
	b = b.uint16(attrDestFamily, addressFamily(FamilyOf(d.Address)))
	if d.Encap != (Encap{}) {
		b = b.uint8(attrDestEncapType, uint8(d.Encap.Type))
		b = b.port(attrDestEncapPort, d.Encap.Port)
		b = b.uint16(attrDestEncapFlags, d.Encap.Flags)
	}
	return b.endNested(at)
}

// decodeDestination decodes a destination. family is its service's; before Linux 3.18 also the destination's.
func decodeDestination(family Family, data []byte) (Destination, error) {
	var d Destination
	var inner error
	err := forEachAttribute(data, func(kind uint16, value []byte) {
		if kind == attrDest {
			d, inner = decodeDestinationFields(family, value)
		}
	})
	return d, errors.Join(err, inner)
}

func decodeDestinationFields(family Family, data []byte) (Destination, error) {
	var d Destination
	var inner error
	var address [16]byte
	err := forEachAttribute(data, func(kind uint16, value []byte) {
		switch kind {
		case attrDestAddress:
			copy(address[:], value)
		case attrDestPort:
			d.Port = bigEndian16(value)
		case attrDestForwarding:
			d.Forwarding = Forwarding(uintValue(value) & forwardingMask)
		case attrDestWeight:
			d.Weight = Weight(min(uintValue(value), math.MaxUint16))
		case attrDestUpper:
			d.Upper = uint32(uintValue(value))
		case attrDestLower:
			d.Lower = uint32(uintValue(value))
		case attrDestActive:
			d.ActiveConns = int(uintValue(value))
		case attrDestInactive:
			d.InactiveConns = int(uintValue(value))
		case attrDestFamily:
			family = IPv4
			if uintValue(value) == unix.AF_INET6 {
				family = IPv6
			}
		case attrDestStats:
			inner = decodeStats(&d.Stats, value)
		case attrDestEncapType:
			d.Encap.Type = EncapType(uintValue(value))
		case attrDestEncapPort:
			d.Encap.Port = bigEndian16(value)
		case attrDestEncapFlags:
			d.Encap.Flags = uint16(uintValue(value))
		}
	})
	d.Address = netip.AddrFrom16(address)
	if family == IPv4 {
		d.Address = netip.AddrFrom4([4]byte(address[:4]))
	}
	return d, errors.Join(err, inner)
}

func decodeStats(s *Stats, data []byte) error {
	return forEachAttribute(data, func(kind uint16, value []byte) {
		switch kind {
		case attrStatsConns:
			s.Connections = uintValue(value)
		case attrStatsPacketsIn:
			s.PacketsIn = uintValue(value)
		case attrStatsPacketsOut:
			s.PacketsOut = uintValue(value)
		case attrStatsBytesIn:
			s.BytesIn = uintValue(value)
		case attrStatsBytesOut:
			s.BytesOut = uintValue(value)
		}
	})
}

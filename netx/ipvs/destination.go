package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Destinations are written and read with messages of our own, because moby/ipvs 1.1.0
//   - sends no address family, so an IPv4 service cannot have an IPv6 destination nor lose one;
//   - leaves out the encapsulation, and the kernel replaces a destination whole: each new weight turns GUE and GRE into IPIP;
//   - reads 16 bits of a weight's 32, and not the encapsulation.
//
// The numbers below are those of linux/ip_vs.h.
const (
	genlVersion = 1 // IPVS_GENL_VERSION

	cmdNewDest = 5
	cmdSetDest = 6
	cmdDelDest = 7
	cmdGetDest = 8
	cmdGetInfo = 15

	attrService = 1 // in a command
	attrDest    = 2

	attrServiceFamily = 1 // in a service
	attrServiceMark   = 5

	attrDestAddress    = 1  // 16 bytes, IPv4 in the first 4
	attrDestPort       = 2  // big endian
	attrDestForwarding = 3  // the lowest 3 bits
	attrDestWeight     = 4  // 32 bits, signed, not negative
	attrDestUpper      = 5  // 32 bits
	attrDestLower      = 6  // 32 bits
	attrDestActive     = 7  // 32 bits
	attrDestInactive   = 8  // 32 bits
	attrDestFamily     = 11 // 16 bits; since Linux 3.18
	attrDestEncapType  = 13 // 8 bits; since Linux 5.3, as the next two
	attrDestEncapPort  = 14 // big endian
	attrDestEncapFlags = 15 // 16 bits

	forwardingMask = 0x7 // IP_VS_CONN_F_FWD_MASK
)

// mayRead asks for nothing of interest: the kernel refuses even that without CAP_NET_ADMIN.
func (k *Kernel) mayRead() error {
	_, err := k.genl.Execute(genetlink.Message{Header: genetlink.Header{Command: cmdGetInfo, Version: genlVersion}},
		k.family, netlink.Request)
	if err != nil {
		return explain(fmt.Errorf("ask IPVS for its version: %w", err))
	}
	return nil
}

// changeDestination sends cmdNewDest, cmdSetDest or cmdDelDest, and gives the kernel's errno.
func (k *Kernel) changeDestination(command uint8, key Key, d Destination) error {
	data, err := encodeDestination(key, d)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = k.genl.Execute(genetlink.Message{Header: genetlink.Header{Command: command, Version: genlVersion}, Data: data},
		k.family, netlink.Request|netlink.Acknowledge)
	return err
}

func (k *Kernel) destinations(key Key) ([]Destination, error) {
	e := netlink.NewAttributeEncoder()
	e.Nested(attrService, func(e *netlink.AttributeEncoder) error { return encodeKey(e, key) })
	data, err := e.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	answers, err := k.genl.Execute(genetlink.Message{Header: genetlink.Header{Command: cmdGetDest, Version: genlVersion}, Data: data},
		k.family, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, err
	}
	var ds []Destination
	for _, a := range answers {
		d, err := decodeDestination(key.Family, a.Data)
		if err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// encodeKey names a service by its mark.
func encodeKey(e *netlink.AttributeEncoder, k Key) error {
	family := uint16(unix.AF_INET)
	if k.Family == IPv6 {
		family = unix.AF_INET6
	}
	e.Uint16(attrServiceFamily, family)
	e.Uint32(attrServiceMark, uint32(k.Mark))
	return nil
}

// encodeDestination gives all that the kernel keeps of a destination, for it replaces it whole.
func encodeDestination(key Key, d Destination) ([]byte, error) {
	e := netlink.NewAttributeEncoder()
	e.Nested(attrService, func(e *netlink.AttributeEncoder) error { return encodeKey(e, key) })
	e.Nested(attrDest, func(e *netlink.AttributeEncoder) error {
		var address [16]byte
		copy(address[:], d.Address.AsSlice())
		family := uint16(unix.AF_INET)
		if d.Address.Is6() {
			family = unix.AF_INET6
		}
		e.Bytes(attrDestAddress, address[:])
		e.Bytes(attrDestPort, binary.BigEndian.AppendUint16(nil, d.Port))
		e.Uint32(attrDestForwarding, uint32(d.Forwarding))
		e.Uint32(attrDestWeight, uint32(d.Weight))
		e.Uint32(attrDestUpper, d.Upper)
		e.Uint32(attrDestLower, d.Lower)
		e.Uint16(attrDestFamily, family)
		if d.Encap != (Encap{}) {
			e.Uint8(attrDestEncapType, uint8(d.Encap.Type))
			e.Bytes(attrDestEncapPort, binary.BigEndian.AppendUint16(nil, d.Encap.Port))
			e.Uint16(attrDestEncapFlags, d.Encap.Flags)
		}
		return nil
	})
	return e.Encode()
}

// decodeDestination reads a destination. family is that of its service, and its own before Linux 3.18.
func decodeDestination(family Family, data []byte) (Destination, error) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return Destination{}, err
	}
	var d Destination
	for ad.Next() {
		if ad.Type() == attrDest {
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				d, err = decodeDestinationFields(family, ad)
				return err
			})
		}
	}
	return d, ad.Err()
}

func decodeDestinationFields(family Family, ad *netlink.AttributeDecoder) (Destination, error) {
	var d Destination
	var address [16]byte
	for ad.Next() {
		switch ad.Type() {
		case attrDestAddress:
			copy(address[:], ad.Bytes())
		case attrDestPort:
			d.Port = bigEndian16(ad.Bytes())
		case attrDestForwarding:
			d.Forwarding = Forwarding(ad.Uint32() & forwardingMask)
		case attrDestWeight:
			d.Weight = Weight(min(ad.Uint32(), math.MaxUint16))
		case attrDestUpper:
			d.Upper = ad.Uint32()
		case attrDestLower:
			d.Lower = ad.Uint32()
		case attrDestActive:
			d.ActiveConns = int(ad.Uint32())
		case attrDestInactive:
			d.InactiveConns = int(ad.Uint32())
		case attrDestFamily:
			family = IPv4
			if ad.Uint16() == unix.AF_INET6 {
				family = IPv6
			}
		case attrDestEncapType:
			d.Encap.Type = EncapType(ad.Uint8())
		case attrDestEncapPort:
			d.Encap.Port = bigEndian16(ad.Bytes())
		case attrDestEncapFlags:
			d.Encap.Flags = ad.Uint16()
		}
	}
	d.Address = netip.AddrFrom16(address)
	if family == IPv4 {
		d.Address = netip.AddrFrom4([4]byte(address[:4]))
	}
	return d, ad.Err()
}

func bigEndian16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

package vip

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The kinds of ARP packet (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// Announce tells every neighbour on the interface's network that the address is here: by gratuitous ARP, as request and as reply since
// some switches and hosts heed only one of them, or by an unsolicited neighbour advertisement that overrides what they know.
// The address need not be on the interface yet. It needs CAP_NET_RAW.
func Announce(ctx context.Context, iface string, addr netip.Addr) error {
	link, err := find(ctx, iface)
	if err != nil {
		return fmt.Errorf("announce %s: %w", addr, err)
	}
	attrs := link.Attrs()
	if attrs.EncapType != "ether" || len(attrs.HardwareAddr) != 6 {
		return fmt.Errorf("announce %s on %s: no neighbours there: it is %s, not Ethernet", addr, iface, attrs.EncapType)
	}
	to, protocol := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(unix.ETH_P_ARP)
	packets := [][]byte{arp(arpRequest, attrs.HardwareAddr, addr), arp(arpReply, attrs.HardwareAddr, addr)}
	if addr.Is6() {
		to, protocol = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6
		packets = [][]byte{advertisement(attrs.HardwareAddr, addr)}
	}
	if err := send(attrs.Index, protocol, to, packets); err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, iface, err)
	}
	return nil
}

// send puts packets on an interface's network; the kernel writes the Ethernet header.
func send(index int, protocol uint16, to net.HardwareAddr, packets [][]byte) error {
	// A socket of protocol 0 receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", privilege(err))
	}
	defer unix.Close(fd)
	dst := &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: index, Halen: uint8(len(to))}
	copy(dst.Addr[:], to)
	for _, p := range packets {
		if err := unix.Sendto(fd, p, 0, dst); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// networkOrder gives the number whose bytes in memory are v in network order, as struct sockaddr_ll wants its protocol.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// arp builds a gratuitous ARP packet: sender and target are the same address (RFC 5227, section 3).
func arp(operation uint16, mac net.HardwareAddr, addr netip.Addr) []byte {
	b := make([]byte, 0, 28)
	b = append(b, 0, 1, 0x08, 0x00, 6, 4) // Ethernet, IPv4, the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(b, mac...)
	b = append(b, addr.AsSlice()...)
	target := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if operation == arpRequest {
		target = make(net.HardwareAddr, 6) // unknown is what a request asks for
	}
	b = append(b, target...)
	return append(b, addr.AsSlice()...)
}

// advertisement builds an IPv6 packet to all nodes with an unsolicited neighbour advertisement (RFC 4861, sections 4.4 and 7.2.6).
func advertisement(mac net.HardwareAddr, addr netip.Addr) []byte {
	const (
		headerLen  = 40
		messageLen = 24 + 8
		icmp       = 58
		hopLimit   = 255 // receivers drop any other: it proves that no router passed it on
	)
	allNodes := netip.MustParseAddr("ff02::1")
	b := make([]byte, 0, headerLen+messageLen)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, messageLen)
	b = append(b, icmp, hopLimit)
	b = append(b, addr.AsSlice()...)
	b = append(b, allNodes.AsSlice()...)
	b = append(b, 136, 0, 0, 0)  // neighbour advertisement, checksum to come
	b = append(b, 0x20, 0, 0, 0) // override; not solicited, not a router
	b = append(b, addr.AsSlice()...)
	b = append(b, 2, 1) // option: the target's link-layer address, one unit of 8 bytes
	b = append(b, mac...)
	binary.BigEndian.PutUint16(b[headerLen+2:], checksum(b[8:headerLen], b[headerLen:], icmp))
	return b
}

// checksum is the Internet checksum over the IPv6 pseudo header and the message (RFC 8200, section 8.1).
func checksum(addresses, message []byte, protocol byte) uint16 {
	pseudo := append([]byte{}, addresses...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, protocol)
	var sum uint32
	for _, part := range [][]byte{pseudo, message} { // both of even length
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

package tunnel

import "net/netip"

// family is what differs between the tunnels of IPv4 and of IPv6.
type family struct {
	device   string // the interface that accepts packets from any balancer
	kind     string // its type, as `ip -d link` shows it
	module   string // the kernel module that creates it
	bits     int    // of an address
	ipHeader int    // bytes without options, of the tunnel's header and of the inner one
	minMTU   int    // bytes, of any link that carries the family
	sysctls  bool   // the family has arp_ignore, arp_announce and rp_filter
	noKernel error  // the kernel lacks the tunnel
}

var (
	// ipv4 is IPv4 in IPv4.
	ipv4 = family{device: "tunl0", kind: "ipip", module: "ipip", bits: 32, ipHeader: 20, minMTU: 68, sysctls: true, noKernel: ErrNoIPIP}
	// ipv6 is IPv6 in IPv6. Neighbour discovery responds only for the addresses of the interface that was asked, and IPv6 has no
	// reverse path filter, so no sysctls are needed.
	ipv6 = family{device: "ip6tnl0", kind: "ip6tnl", module: "ip6_tunnel", bits: 128, ipHeader: 40, minMTU: 1280, noKernel: ErrNoIP6Tnl}
)

// familyOf returns the family of an address.
func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// has reports whether the address belongs to the family.
func (f family) has(a netip.Addr) bool { return a.BitLen() == f.bits }

// of returns the addresses of the family.
func (f family) of(all []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range all {
		if f.has(a) {
			list = append(list, a)
		}
	}
	return list
}

// segment returns the largest TCP segment of packets that fit through the tunnel over a link, in bytes.
func (f family) segment(mtu int) int { return min(mtu, maxMTU) - f.ipHeader - f.ipHeader - tcpHeader }

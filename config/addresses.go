package config

import (
	"net/netip"
	"slices"
	"strings"
)

// address reads the key address with a reader such as unicast.
func address(d *decoder, read func(d *decoder, key, example string) netip.Addr, example string) netip.Addr {
	const key = "address"
	if !d.has(key) {
		d.consumed[key] = true
		d.missing(key, addressFix+example)
		return netip.Addr{}
	}
	return read(d, key, example)
}

// addressFix precedes an example.
const addressFix = "use an IPv4 or IPv6 address, such as "

// unicast reads a unicast IP address without a zone or prefix length.
func unicast(d *decoder, key, example string) netip.Addr {
	fix := addressFix + example
	s := d.str(key, "")
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		d.invalid(key, "is not an IP address", "remove the / and the prefix length")
	case err != nil:
		d.invalid(key, "is not an IP address", fix)
	case a.Zone() != "":
		d.invalid(key, "has a zone", "remove the % and what follows")
	case a.Is4In6():
		d.invalid(key, "is an IPv4-mapped IPv6 address", "use "+a.Unmap().String())
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		d.invalid(key, "is not a unicast address", fix)
	default:
		return a
	}
	return netip.Addr{}
}

// destination reads an address that IPVS forwards to. The kernel accepts no link-local IPv6 address as one: it has no field for the zone.
func destination(d *decoder, key, example string) netip.Addr {
	a := unicast(d, key, example)
	if a.Is6() && a.IsLinkLocalUnicast() {
		d.invalid(key, "is a link-local address, and IPVS has no field for the interface",
			"use a global or unique local address, such as fd00::1")
		return netip.Addr{}
	}
	return a
}

// checkIPVersions reports virtual IPs without a node of their IP version, nodes without a virtual IP of theirs, and nodes that are
// virtual IPs. In the kernel, one mark has an IPv4 and an IPv6 service, and a node is in the service of its version: dr and nat cannot
// forward to the other version, and the tunnels that lb sets up carry IPv4 in IPv4.
func checkIPVersions(c Cluster, vips, nodes []*decoder) {
	if len(vips) != len(c.VIPs) || len(nodes) != len(c.Nodes) {
		return
	}
	const notForwarded = " of the cluster is, and lb does not forward between IP versions"
	nodeReported := false // report one side, not both
	for i, n := range c.Nodes {
		same := func(v VIP) bool { return !v.Address.IsValid() || v.Address.Is4() == n.Address.Is4() }
		switch {
		case !n.Address.IsValid() || len(c.VIPs) == 0:
		case slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Address == n.Address }):
			nodes[i].invalid("address", "is a virtual IP of the same cluster", "use the node's own address")
		case !slices.ContainsFunc(c.VIPs, same):
			nodeReported = true
			nodes[i].invalid("address", "is "+ipVersion(n.Address)+", but no virtual IP"+notForwarded,
				"use the node's "+ipVersion(c.VIPs[0].Address)+" address")
		}
	}
	for i, v := range c.VIPs {
		same := func(n Node) bool { return !n.Address.IsValid() || n.Address.Is4() == v.Address.Is4() }
		if !nodeReported && v.Address.IsValid() && len(c.Nodes) > 0 && !slices.ContainsFunc(c.Nodes, same) {
			vips[i].invalid("address", "is "+ipVersion(v.Address)+", but no node"+notForwarded,
				"add nodes with "+ipVersion(v.Address)+" addresses")
		}
	}
}

func ipVersion(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

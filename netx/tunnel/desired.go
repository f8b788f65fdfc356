package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/braintree/lb/config"
)

// DesiredFor returns the desired state of a machine with the local addresses: the virtual IPs of the IPIP clusters of
// which it is a node, and the addresses that their balancers tunnel to. Both are sorted, without duplicates. A virtual IP
// gets packets only on nodes of its own IP version.
func DesiredFor(clusters []config.Cluster, local []netip.Addr) Desired {
	var desired Desired
	for _, c := range clusters {
		if c.Forwarding != config.IPIP {
			continue
		}
		isNode := map[int]bool{} // by the bits of an address
		for _, n := range c.Nodes {
			a := n.Address.Unmap().WithZone("")
			isNode[a.BitLen()] = isNode[a.BitLen()] || IsLocal(a, local)
			if IsLocal(a, local) && !a.IsLoopback() { // no balancer's packets arrive over loopback, so its MTU does not matter
				desired.Nodes = append(desired.Nodes, a)
			}
		}
		for _, v := range c.VIPs {
			if a := v.Address.Unmap(); isNode[a.BitLen()] {
				desired.VIPs = append(desired.VIPs, a)
			}
		}
	}
	desired.VIPs, desired.Nodes = sortUnique(desired.VIPs), sortUnique(desired.Nodes)
	return desired
}

// IsLocal reports whether an address, in whatever notation, is one of this machine's.
func IsLocal(a netip.Addr, local []netip.Addr) bool {
	return slices.ContainsFunc(local, func(l netip.Addr) bool { return l.Unmap().WithZone("") == a.Unmap().WithZone("") })
}

// sortUnique sorts the addresses and removes duplicates.
func sortUnique(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// LocalAddrs returns this machine's addresses.
func LocalAddrs() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, n := range nets {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs, nil
}

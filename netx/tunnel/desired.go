package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/braintree/lb/config"
)

// DesiredFor returns the desired state of a machine with the local addresses: all virtual IPs of the IPIP clusters of
// which it is a node, and the addresses that their balancers tunnel to. Both are sorted, without duplicates.
func DesiredFor(clusters []config.Cluster, local []netip.Addr) Desired {
	isLocal := map[netip.Addr]bool{}
	for _, a := range local {
		isLocal[a.Unmap().WithZone("")] = true
	}
	var desired Desired
	for _, c := range clusters {
		if c.Forwarding != config.IPIP {
			continue
		}
		isNode := false
		for _, n := range c.Nodes {
			a := n.Address.Unmap().WithZone("")
			isNode = isNode || isLocal[a]
			// The tunnel is IPv4 only, and no balancer's packets arrive over loopback: neither affects the MSS.
			if isLocal[a] && a.Is4() && !a.IsLoopback() {
				desired.Nodes = append(desired.Nodes, a)
			}
		}
		if !isNode {
			continue
		}
		for _, v := range c.VIPs {
			desired.VIPs = append(desired.VIPs, v.Address.Unmap())
		}
	}
	desired.VIPs, desired.Nodes = sortUnique(desired.VIPs), sortUnique(desired.Nodes)
	return desired
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

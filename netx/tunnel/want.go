package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/braintree/lb/config"
)

// For is what a machine that has the local addresses should be a real server for, as a node of the clusters: of those that forward by
// IPIP, all virtual IPs, and the addresses that the balancers tunnel to. Both sorted, each once.
func DesiredFor(clusters []config.Cluster, local []netip.Addr) Desired {
	mine := map[netip.Addr]bool{}
	for _, a := range local {
		mine[a.Unmap().WithZone("")] = true
	}
	var want Desired
	for _, c := range clusters {
		if c.Forwarding != config.IPIP {
			continue
		}
		isNode := false
		for _, n := range c.Nodes {
			a := n.Address.Unmap().WithZone("")
			isNode = isNode || mine[a]
			// The tunnel is IPv4 only, and by loopback no balancer's packet comes: for the size of packets neither counts.
			if mine[a] && a.Is4() && !a.IsLoopback() {
				want.Nodes = append(want.Nodes, a)
			}
		}
		if !isNode {
			continue
		}
		for _, v := range c.VIPs {
			want.VIPs = append(want.VIPs, v.Address.Unmap())
		}
	}
	want.VIPs, want.Nodes = sorted(want.VIPs), sorted(want.Nodes)
	return want
}

// sorted sorts the addresses and leaves each in once.
func sorted(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// LocalAddrs asks the kernel for this machine's addresses.
func LocalAddrs() ([]netip.Addr, error) {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("find out this machine's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, n := range nets {
		if prefix, err := netip.ParsePrefix(n.String()); err == nil {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs, nil
}

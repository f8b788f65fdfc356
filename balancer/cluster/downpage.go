package cluster

import (
	"net/netip"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// downpage is the address of the cluster's server of last resort for a family; invalid if it has none. Port 0: packets keep their port.
func (c *Cluster) downpage(family ipvs.Family) netip.AddrPort {
	switch {
	case len(c.page) > 0:
		for _, at := range c.page {
			if ipvs.FamilyOf(at.Addr()) == family {
				return at
			}
		}
		return netip.AddrPort{}
	case c.cfg.Downpage.Page:
		return netip.AddrPort{} // lb does not serve it at present
	case family == ipvs.IPv6:
		return netip.AddrPortFrom(c.cfg.Downpage.Address6, 0)
	}
	return netip.AddrPortFrom(c.cfg.Downpage.Address, 0)
}

// isPage reports whether a destination of the kernel's table is a server of last resort. So is one that is no longer wanted and
// leaves, and a page that an earlier process of lb served at another port.
func (c *Cluster) isPage(d ipvs.Destination) bool {
	if d.Port != 0 {
		return c.isVirtualIP(d.Address)
	}
	return d.Address.IsValid() && d.Address == c.downpage(ipvs.FamilyOf(d.Address)).Addr() && c.nodes.find(d.Address) == nil
}

// pageCause says why the server of last resort is in the kernel's table, or is leaving it.
func (c *Cluster) pageCause() string {
	if c.verdict.Downpage {
		return c.verdict.Notice
	}
	if c.cfg.OnFailure == config.RemoveFailed {
		return "the downpage is no longer needed (on_failure = remove)"
	}
	return "the downpage is no longer needed: it keeps its connections until they end"
}

package cluster

import (
	"net/netip"
	"slices"

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

// isPage reports whether a destination of the kernel's table is a server of last resort. So is one that is no longer wanted and leaves, and a
// page that an earlier process of lb served at another port.
func (c *Cluster) isPage(d ipvs.Destination) bool {
	if d.Port != 0 {
		return slices.ContainsFunc(c.cfg.VIPs, func(v config.VIP) bool { return v.Address == d.Address })
	}
	return d.Address.IsValid() && d.Address == c.downpage(ipvs.FamilyOf(d.Address)).Addr() && c.node(d.Address) == nil
}

// lastResort is the destination that a service has beside its nodes while none of them has weight.
func (c *Cluster) lastResort(family ipvs.Family) []ipvs.Destination {
	page := c.downpage(family)
	if !c.verdict.Downpage || !page.IsValid() {
		return nil
	}
	d := ipvs.Destination{Address: page.Addr(), Port: page.Port(), Forwarding: forwarding(c.cfg.Forwarding), Weight: 1}
	if len(c.page) > 0 {
		d.Forwarding = ipvs.Masq // only this method delivers packets to another port of the machine itself
	}
	return []ipvs.Destination{d}
}

// pageCause says why the server of last resort is in the kernel's table, or is leaving it.
func (c *Cluster) pageCause() string {
	if c.verdict.Downpage {
		return c.verdict.Notice
	}
	return "the downpage is no longer needed: it keeps its connections until they end"
}

// ServesPage reports whether lb itself serves the cluster's downpage while the cluster runs.
func (c *Cluster) ServesPage() bool { return c.cfg.Downpage.Page && c.cfg.AllDown == config.ToPage }

// PageAddresses are the first virtual IP of each family. lb serves the downpage there, for all virtual IPs of the family.
func (c *Cluster) PageAddresses() []netip.Addr {
	var addresses []netip.Addr
	for _, family := range c.families() {
		at := slices.IndexFunc(c.cfg.VIPs, func(v config.VIP) bool { return ipvs.FamilyOf(v.Address) == family })
		addresses = append(addresses, c.cfg.VIPs[at].Address)
	}
	return addresses
}

package balancer

import (
	"net/netip"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// page is where the cluster's server of last resort is for a family; invalid when it has none. The port is 0 where packets keep theirs.
func (c *cluster) page(family ipvs.Family) netip.AddrPort {
	switch {
	case c.served != nil:
		return c.served.server.Address(family)
	case c.cfg.Downpage.Page:
		return netip.AddrPort{} // not served here
	case family == ipvs.IPv6:
		return netip.AddrPortFrom(c.cfg.Downpage.Address6, 0)
	}
	return netip.AddrPortFrom(c.cfg.Downpage.Address, 0)
}

// isPage tells whether the kernel's destination is the server of last resort. While it is not wanted it is one, too, on its way out; and
// so is a page that an lb before this one served at another port.
func (c *cluster) isPage(d ipvs.Destination) bool {
	if d.Port != 0 {
		return slices.ContainsFunc(c.cfg.VIPs, func(v config.VIP) bool { return v.Address == d.Address })
	}
	return d.Address.IsValid() && d.Address == c.page(ipvs.FamilyOf(d.Address)).Addr() && c.node(d.Address) == nil
}

// lastResort is the destination that a service gets besides its nodes when none of them has weight.
func (c *cluster) lastResort(family ipvs.Family) []ipvs.Destination {
	page := c.page(family)
	if !c.verdict.Downpage || !page.IsValid() {
		return nil
	}
	d := ipvs.Destination{Address: page.Addr(), Port: page.Port(), Forwarding: forwarding(c.cfg.Forwarding), Weight: 1}
	if c.served != nil {
		d.Forwarding = ipvs.Masq // the only method by which the kernel leads packets to another port of its own machine
	}
	return []ipvs.Destination{d}
}

// addPage adds what the kernel says about the server of last resort, which is no node.
func addPage(s *api.ClusterStatus, c *cluster, d ipvs.Destination) {
	if s.Downpage == nil {
		s.Downpage = &api.NodeStatus{Address: d.Address.String(), State: "leaving", Why: c.pageCause(), Steps: []decide.Step{}}
		if c.verdict.Downpage {
			s.Downpage.State, s.Downpage.Weight = "up", 1
		}
	}
	weight := int(d.Weight)
	s.Downpage.KernelWeight = &weight
	s.Downpage.ActiveConns += d.ActiveConns
	s.Downpage.InactiveConns += d.InactiveConns
}

// pageCause says why the server of last resort is in the kernel's table, or leaves it.
func (c *cluster) pageCause() string {
	if c.verdict.Downpage {
		return c.verdict.Notice
	}
	return "the downpage is not wanted any more: it keeps its connections until they end"
}

package balancer

import (
	"net/netip"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/ipvs"
)

// page is the address of the cluster's server of last resort for a family; invalid when it has none.
func (c *cluster) page(family ipvs.Family) netip.Addr {
	if family == ipvs.IPv6 {
		return c.cfg.Downpage.Address6
	}
	return c.cfg.Downpage.Address
}

// isPage tells whether the kernel's destination is the server of last resort. While it is not wanted it is one, too, on its way out.
func (c *cluster) isPage(d ipvs.Destination) bool {
	return d.Port == 0 && d.Address.IsValid() && d.Address == c.page(ipvs.FamilyOf(d.Address)) && c.node(d.Address) == nil
}

// lastResort is the destination that a service gets besides its nodes when none of them has weight.
func (c *cluster) lastResort(family ipvs.Family) []ipvs.Destination {
	page := c.page(family)
	if !c.verdict.Downpage || !page.IsValid() {
		return nil
	}
	return []ipvs.Destination{{Address: page, Forwarding: forwarding(c.cfg.Forwarding), Weight: 1}}
}

// addPage adds what the kernel says about the server of last resort, which is no node.
func (s *ClusterStatus) addPage(c *cluster, d ipvs.Destination) {
	if s.Downpage == nil {
		s.Downpage = &NodeStatus{Address: d.Address.String(), State: "leaving", Why: c.pageCause(), Steps: []decide.Step{}}
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

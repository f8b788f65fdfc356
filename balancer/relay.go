package balancer

import (
	"slices"

	"github.com/braintree/lb/netx/ipvs"
)

// marks are those of the cluster's services: its own, and that of its relay where it has one.
func (c *cluster) marks() []ipvs.Mark {
	marks := []ipvs.Mark{c.mark()}
	if c.cfg.Relay.Enabled {
		marks = append(marks, ipvs.Mark(c.cfg.Relay.Mark))
	}
	return marks
}

// relayed are the services for what comes from other data centres, made from the cluster's own ones; none without a relay. They have the
// nodes of the config and no other.
func (c *cluster) relayed(own []ipvs.Service) []ipvs.Service {
	if !c.cfg.Relay.Enabled {
		return nil
	}
	relays := slices.Clone(own)
	for i, s := range own {
		relays[i].Mark = ipvs.Mark(c.cfg.Relay.Mark)
		relays[i].Destinations = slices.DeleteFunc(slices.Clone(s.Destinations), func(d ipvs.Destination) bool {
			n := c.node(d.Address)
			return n == nil || n.remote != nil
		})
	}
	return relays
}

// hasAny tells whether the kernel's table, as last read, has a service of one of these marks.
func (e *engine) hasAny(marks []ipvs.Mark) bool { return slices.ContainsFunc(marks, e.has) }

// unretire keeps the services of a cluster that runs again.
func (e *engine) unretire(c *cluster) {
	for _, m := range c.marks() {
		delete(e.retired, m)
	}
}

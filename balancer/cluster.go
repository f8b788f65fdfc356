package balancer

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// cluster is what the engine knows about one cluster of the config.
type cluster struct {
	cfg         config.Cluster
	nodes       []*node // in the config's order, then those that other data centres list, by address
	sites       []*site // in the config's order
	running     bool
	pool        decide.Pool
	group       decide.ClusterState
	verdict     decide.Outcome
	file        decide.Override              // what an operator says about all nodes by a file
	plight      plight                       // as last logged
	stale       bool                         // a node was decided anew since the nodes were last settled together
	members     []decide.Member              // room for settle, kept between calls
	served      *served                      // the page of lb's own; nil: none
	start       *start                       // waiting for readings; nil when none is under way
	left        map[netip.AddrPort]time.Time // since when a destination in the kernel's table is in no config
	parted      map[netip.Addr]string        // why a node that other data centres listed is left over in the kernel's table
	pageTrouble string                       // why the page is not served; "" when nothing
	trouble     string                       // what the kernel refused in the last cycle; "" when nothing
	strange     bool                         // it does not run, but the kernel has its mark: said once
}

// node is one node of a cluster.
type node struct {
	cfg      config.Node
	state    decide.State
	drain    string       // why an operator drains it; "" is not. A change counts from the next cycle on
	order    *drain.Drain // the drain itself; nil: none
	weight   int          // decided; what the kernel has may differ, see the view
	steps    []decide.Step
	own      alone
	told     string // the state that events have it in; "" is unknown
	readings api.Readings
	remote   *remote // of one that is another data centre's balancer; nil for those of the config

	watch   *watch.Watcher     // nil before the engine runs
	unwatch context.CancelFunc // ends it
}

// alone is what was decided about a node without regard to the others of its cluster.
type alone struct {
	in     decide.Input // without a reading
	weight int
	steps  []decide.Step
}

// start is a start that waits for the first readings.
type start struct {
	deadline time.Time
	again    bool           // the kernel could not be read at the first try: the deadline alone decides
	waiting  []chan outcome // each has room for one
}

// outcome is the answer to a start or a stop.
type outcome struct {
	changed bool
	err     error
}

// known tells whether every node has been asked at least once.
func (c *cluster) known() bool {
	return !slices.ContainsFunc(c.nodes, func(n *node) bool { return !n.state.HasReading })
}

// why is the sentence that explains the node's weight.
func (n *node) why() string { return decide.Why(n.steps) }

func (c *cluster) mark() ipvs.Mark { return ipvs.Mark(c.cfg.Mark) }

// node returns the node of that address, nil when there is none.
func (c *cluster) node(a netip.Addr) *node {
	for _, n := range c.nodes {
		if n.cfg.Address == a {
			return n
		}
	}
	return nil
}

// adopt takes the cluster over from the kernel's table, where it runs: every node keeps the weight that it has there until
// its first reading, one that is new to the kernel joins at 0.
func (c *cluster) adopt(now time.Time, table []ipvs.Service) {
	c.running = true
	c.pool, c.group = decide.Pool{}, decide.ClusterState{}
	c.expect(table)
	weights := map[netip.Addr]int{}
	for _, s := range table {
		for _, d := range s.Destinations {
			if s.Mark == c.mark() {
				weights[d.Address] = int(d.Weight)
			}
			if s.Mark == c.mark() && d.Weight > 0 && !c.isPage(d) {
				c.pool = decide.WarmPool(now, c.settings())
			}
		}
	}
	for _, n := range c.nodes {
		last, seen := n.state.LastReading, n.state.HasReading
		n.state = decide.Join(now)
		if w, ok := weights[n.cfg.Address]; ok {
			n.state = decide.Adopt(w)
		}
		if seen {
			c.weigh(now, n, &last)
		} else {
			c.weigh(now, n, nil)
		}
	}
}

// services are the cluster's services as the kernel should have them: one for each family of its virtual IPs, with the
// nodes of that family, and those that are on their way out.
func (c *cluster) services(now time.Time, table []ipvs.Service) []ipvs.Service {
	var services []ipvs.Service
	for _, family := range c.families() {
		s := service(c.cfg, family)
		for _, n := range c.nodes {
			if ipvs.FamilyOf(n.cfg.Address) == family {
				d := destination(c.cfg, n.cfg, n.weight)
				d.Forwarding = c.forwarding(n)
				s.Destinations = append(s.Destinations, d)
			}
		}
		services = append(services, s)
	}
	relays := c.relayed(services)
	for i, s := range services {
		services[i].Destinations = append(s.Destinations, c.lastResort(s.Family)...)
	}
	services = append(services, relays...)
	c.keepLeavers(now, services, table)
	return services
}

// byKey finds a service in the kernel's table, which is sorted.
func byKey(s ipvs.Service, k ipvs.Key) int {
	return cmp.Or(cmp.Compare(s.Mark, k.Mark), cmp.Compare(s.Family, k.Family))
}

// keepLeavers adds to the services what the kernel's table has in them beyond the config, as long as it drains.
func (c *cluster) keepLeavers(now time.Time, services, table []ipvs.Service) {
	left := map[netip.AddrPort]time.Time{}
	for i := range services {
		at, has := slices.BinarySearchFunc(table, services[i].Key, byKey)
		if !has {
			continue
		}
		for _, d := range table[at].Destinations {
			if d.Port == 0 && c.node(d.Address) != nil || c.verdict.Downpage && c.isPage(d) {
				continue
			}
			id := netip.AddrPortFrom(d.Address, d.Port)
			since, ok := c.left[id]
			if !ok {
				since = now
			}
			left[id] = since
			if d, stays := plan.Leaving(now, since, c.cfg.DrainTimeout, d); stays {
				services[i].Destinations = append(services[i].Destinations, d)
			}
		}
	}
	c.left = left
	maps.DeleteFunc(c.parted, func(a netip.Addr, _ string) bool { _, ok := left[netip.AddrPortFrom(a, 0)]; return !ok })
}

// families are those of the virtual IPs, IPv4 first.
func (c *cluster) families() []ipvs.Family {
	var families []ipvs.Family
	for _, v := range c.cfg.VIPs {
		if f := ipvs.FamilyOf(v.Address); !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	slices.Sort(families)
	return families
}

// forwarding is how packets get to a node. Another data centre is reached through a tunnel only.
func (c *cluster) forwarding(n *node) ipvs.Forwarding {
	if n.remote != nil {
		return ipvs.Tunnel
	}
	return forwarding(c.cfg.Forwarding)
}

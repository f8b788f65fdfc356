package cluster

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// remotePriority makes an active/passive cluster send packets to another data centre only if it has no node of its own left. If addresses decided
// that, two data centres could each choose the other.
const remotePriority = math.MaxInt

// Site is another data centre's balancer that a cluster polls for its weights.
type Site struct {
	cfg      config.Site
	seen     bool             // it has been polled
	members  []RemoteBalancer // accepted from its last response; none if it was silent
	reported string           // its condition as last reported
}

// SiteReading is the result of one poll of another data centre's balancer.
type SiteReading struct {
	At        time.Time
	Answered  bool             // the response was usable, even if it lists nobody
	Balancers []RemoteBalancer // sorted by address, each once
	Detail    string           // why there are none; "" if there are
}

// RemoteBalancer is a balancer of another data centre that a site lists.
type RemoteBalancer struct {
	Address  netip.Addr // where to send packets
	Health   int        // combined weight of its nodes, 0–65536; 65536 stands for every sum beyond a weight
	Location string     // its data centre; "": not known
}

// remote is what the model knows about a node that is another data centre's balancer.
type remote struct {
	site     *Site  // that listed it last; nil: adopted from the kernel's table, and no site has listed it yet
	location string // its data centre; "": not known
	missed   int    // polls since it went to weight 0 because no site lists it
}

// Config is the site's configuration.
func (s *Site) Config() config.Site { return s.cfg }

func (s *Site) lists(a netip.Addr) bool {
	return slices.ContainsFunc(s.members, func(m RemoteBalancer) bool { return m.Address == a })
}

// location names the data centre of a node for operators; "" is this one.
func (n *Node) location() string {
	switch {
	case n.remote == nil:
		return ""
	case n.remote.location == "" && n.remote.site == nil:
		return "unknown"
	case n.remote.location == "":
		return n.remote.site.cfg.At.Addr().String()
	}
	return n.remote.location
}

// remoteSettings are those of nodes that are balancers. Their weight is that of many nodes, each of which is ramped up and capped over there.
func (c *Cluster) remoteSettings() decide.Settings {
	return decide.Settings{Rise: c.cfg.Rise, Fall: c.cfg.Fall, WarmUp: c.settings().WarmUp}
}

// setSites gives the cluster the sites of its configuration. A site that it has already keeps its state, and so do the nodes that it lists.
func (c *Cluster) setSites() {
	old := c.sites
	c.sites = nil
	for _, cfg := range c.cfg.Sites {
		at := slices.IndexFunc(old, func(s *Site) bool { return s.cfg == cfg })
		if at < 0 {
			c.sites = append(c.sites, &Site{cfg: cfg})
			continue
		}
		c.sites = append(c.sites, old[at])
	}
}

// keepRemotes adds those of the given nodes that are other data centres' balancers, as long as a site may list them, and returns the rest.
func (c *Cluster) keepRemotes(nodes []*Node) (gone []*Node) {
	for _, n := range nodes {
		switch {
		case n.remote == nil:
			continue
		case len(c.sites) == 0 || c.node(n.cfg.Address) != nil:
			gone = append(gone, n)
			continue
		case !slices.Contains(c.sites, n.remote.site):
			n.remote.site = nil // another site may list it; otherwise it leaves after the next poll
		}
		c.nodes = append(c.nodes, n)
	}
	return gone
}

// adoptRemotes takes over, from the kernel's table, the balancers of other data centres, until their sites have been polled.
func (c *Cluster) adoptRemotes(table []ipvs.Service) {
	for _, s := range table {
		for _, d := range s.Destinations {
			ours := s.Mark == c.Mark() && d.Port == 0 && d.Weight > 0 && d.Forwarding == ipvs.Tunnel && !c.isPage(d)
			if ours && len(c.sites) > 0 && c.node(d.Address) == nil {
				c.addRemote(&Node{cfg: config.Node{Address: d.Address, Priority: remotePriority}, remote: &remote{}})
			}
		}
	}
}

// addRemote adds a node behind those of the configuration, by address.
func (c *Cluster) addRemote(n *Node) {
	at := slices.IndexFunc(c.nodes, func(o *Node) bool { return o.remote != nil && o.cfg.Address.Compare(n.cfg.Address) > 0 })
	if at < 0 {
		at = len(c.nodes)
	}
	c.nodes = slices.Insert(c.nodes, at, n)
}

// ObserveSite takes in a reading of a site. It reports whether that changed the own weight of a node, or which nodes there are, while the cluster
// runs.
func (m *Model) ObserveSite(now time.Time, c *Cluster, s *Site, r SiteReading) bool {
	listed := len(r.Balancers)
	var rejected []string
	r.Balancers, rejected = m.accept(c, r.Balancers)
	if listed > 0 && len(r.Balancers) == 0 {
		r.Detail = strings.Join(rejected, "; ")
	}
	condition := strings.Join(rejected, "; ")
	switch {
	case !r.Answered:
		condition = "no usable response"
	case listed == 0:
		condition = r.Detail
	}
	if condition != s.reported || !s.seen {
		m.reportSite(now, c, s, r, cmp.Or(condition, "takes packets"))
		s.reported = condition
	}
	before := slices.Clone(c.nodes)
	if !c.observeSite(now, s, r) {
		return false
	}
	m.reportMembers(now, c, before)
	c.changed = c.changed || c.running
	return c.running
}

// accept sorts out what a site lists: members receive packets, rejected says which do not, and why.
func (m *Model) accept(c *Cluster, listed []RemoteBalancer) (members []RemoteBalancer, rejected []string) {
	families := c.families()
	for _, l := range listed {
		why := ""
		own := c.node(l.Address)
		switch {
		case l.Location != "" && l.Location == m.location:
			why = "is in this data centre, " + m.location
		case slices.Contains(c.cfg.NonEgressLocations, l.Location):
			why = "receives nothing from here: " + l.Location + " is one of non_egress_locations"
		case l.Address == m.relayAddress:
			why = "is this balancer"
		case own != nil && own.remote == nil:
			why = "is a node of the cluster"
		case slices.ContainsFunc(c.cfg.VIPs, func(v config.VIP) bool { return v.Address == l.Address }):
			why = "is a virtual IP of the cluster"
		case !slices.Contains(families, ipvs.FamilyOf(l.Address)):
			why = "has an IP version that no virtual IP of the cluster has"
		}
		if why == "" {
			members = append(members, l)
		} else {
			rejected = append(rejected, l.Address.String()+" "+why)
		}
	}
	return members, rejected
}

// observeSite takes in a reading with accepted members.
func (c *Cluster) observeSite(now time.Time, s *Site, r SiteReading) bool {
	s.seen, s.members = true, r.Balancers
	changed := false
	for _, m := range r.Balancers {
		n := c.node(m.Address)
		switch {
		case n == nil:
			n = &Node{state: decide.Join(now), remote: &remote{}, cfg: config.Node{Address: m.Address, Priority: remotePriority}}
			c.addRemote(n)
			changed = true
		case n.remote.site != nil && n.remote.site != s && n.remote.site.lists(m.Address):
			continue // two sites list it: the first one counts
		}
		n.remote.site, n.remote.location, n.remote.missed = s, m.Location, 0
		n.cfg.Port = s.cfg.At.Port()
		detail := fmt.Sprintf("%s reported combined weight %d (/fwmark/%d)", s.cfg.At, m.Health, c.cfg.Mark)
		changed = c.decideNode(now, n, &decide.Reading{At: r.At, Answered: true, Health: m.Health, Detail: detail}) || changed
	}
	allSeen := !slices.ContainsFunc(c.sites, func(o *Site) bool { return !o.seen })
	for _, n := range slices.Clone(c.nodes) {
		listed := slices.ContainsFunc(c.sites, func(o *Site) bool { return o.lists(n.cfg.Address) })
		if n.remote == nil || listed {
			continue
		}
		if n.remote.site == nil && allSeen {
			n.remote.site = s
		}
		if n.remote.site == s {
			changed = c.miss(now, n, r) || changed
		}
	}
	return changed
}

// miss decides about a node that its site does not list. A site that answers counts at once, a silent one after fall polls. The node then stays at
// weight 0 for max_down_ticks polls before it leaves.
func (c *Cluster) miss(now time.Time, n *Node, r SiteReading) bool {
	at := n.remote.site.cfg.At
	reading := decide.Reading{At: r.At, Answered: r.Answered, Detail: fmt.Sprintf("%s: %s", at, r.Detail)}
	if r.Answered && r.Detail == "" {
		reading.Detail = fmt.Sprintf("%s does not list it (/fwmark/%d)", at, c.cfg.Mark)
	}
	changed := c.decideNode(now, n, &reading)
	if n.own.weight > 0 {
		return changed
	}
	if n.remote.missed++; n.remote.missed <= c.cfg.MaxDownTicks {
		return changed
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(o *Node) bool { return o == n })
	if c.running {
		if c.departed == nil {
			c.departed = map[netip.Addr]string{}
		}
		c.departed[n.cfg.Address] = fmt.Sprintf("%s left: %s", cmp.Or(n.location(), "another data centre"), decide.Why(n.own.steps))
	}
	return true
}

// reportMembers reports which of the other data centres' balancers have come or gone.
func (m *Model) reportMembers(now time.Time, c *Cluster, before []*Node) {
	for _, n := range c.nodes {
		if !slices.Contains(before, n) {
			m.reportMember(c.report(now, event.MemberJoined, event.Info, "a site lists another data centre's balancer"), n, decide.Why(n.own.steps))
		}
	}
	for _, n := range before {
		if !slices.Contains(c.nodes, n) {
			m.reportMember(c.report(now, event.MemberLeft, event.Info, "no site lists another data centre's balancer any more"), n, decide.Why(n.own.steps))
		}
	}
}

// reportMember completes a report about a node that is another data centre's balancer.
func (m *Model) reportMember(r event.Report, n *Node, cause string) {
	r.Node, r.Cause = n.cfg.Address.String(), strings.TrimPrefix(n.location()+": "+cause, ": ")
	m.emit(r)
}

func (m *Model) reportSite(now time.Time, c *Cluster, s *Site, reading SiteReading, condition string) {
	r := c.report(now, event.SiteAnswers, event.Info, "another data centre's balancer reports its weights")
	if !reading.Answered {
		r = c.report(now, event.SiteSilent, event.Warn, "another data centre's balancer does not report its weights")
		r.Err = reading.Detail
	}
	r.Cause = s.cfg.At.String() + ": " + condition
	m.emit(r)
}

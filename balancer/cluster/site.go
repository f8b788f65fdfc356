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

// remotePriority makes an active/passive cluster send packets to another data centre only if it has no node of its own left. If
// addresses decided that, two data centres could each choose the other.
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

// newSites returns the sites of a configuration. One that exists already keeps its state, and so do the nodes that it lists.
func newSites(configs []config.Site, old []*Site) []*Site {
	var sites []*Site
	for _, cfg := range configs {
		at := slices.IndexFunc(old, func(s *Site) bool { return s.cfg == cfg })
		if at < 0 {
			sites = append(sites, &Site{cfg: cfg})
			continue
		}
		sites = append(sites, old[at])
	}
	return sites
}

// keepRemotes adds those of the given nodes that are other data centres' balancers to a cluster, as long as a site may list them,
// and returns the rest.
func keepRemotes(c *Cluster, nodes []*Node) (gone []*Node) {
	for _, n := range nodes {
		switch {
		case n.remote == nil:
			continue
		case len(c.sites) == 0 || c.nodes.find(n.cfg.Address) != nil:
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
func adoptRemotes(c *Cluster, table []ipvs.Service) {
	for _, s := range table {
		for _, d := range s.Destinations {
			ours := s.Mark == c.Mark() && d.Port == 0 && d.Weight > 0 && d.Forwarding == ipvs.Tunnel && !c.isPage(d)
			if ours && len(c.sites) > 0 && c.nodes.find(d.Address) == nil {
				c.nodes = c.nodes.insertRemote(&Node{cfg: config.Node{Address: d.Address, Priority: remotePriority}, remote: &remote{}})
			}
		}
	}
}

// ObserveSite takes in a reading of a site. It reports whether that changed the own weight of a node, or which nodes there are,
// while the cluster runs.
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
		m.emit(siteReport(now, c, s, r, cmp.Or(condition, "receives packets")))
		s.reported = condition
	}
	before := slices.Clone(c.nodes)
	if !(siteObservation{c, s, now, r}).apply() {
		return false
	}
	m.emit(memberReports(now, c, before)...)
	c.changed = c.changed || c.running
	return c.running
}

// accept sorts out what a site lists: members receive packets, rejected says which do not, and why.
func (m *Model) accept(c *Cluster, listed []RemoteBalancer) (members []RemoteBalancer, rejected []string) {
	families := c.families()
	for _, l := range listed {
		why := ""
		own := c.nodes.find(l.Address)
		switch {
		case l.Location != "" && l.Location == m.location:
			why = "is in this data centre, " + m.location
		case slices.Contains(c.cfg.NonEgressLocations, l.Location):
			why = "receives nothing from here: " + l.Location + " is one of non_egress_locations"
		case l.Address == m.relayAddress:
			why = "is this balancer"
		case own != nil && own.remote == nil:
			why = "is a node of the cluster"
		case c.isVirtualIP(l.Address):
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

// siteObservation is a reading of a site, with accepted members, that a cluster takes in.
type siteObservation struct {
	*Cluster
	site *Site
	now  time.Time
	read SiteReading
}

// apply reports whether the reading changed the own weight of a node, or which nodes there are.
func (o siteObservation) apply() bool {
	o.site.seen, o.site.members = true, o.read.Balancers
	changed := false
	for _, m := range o.read.Balancers {
		changed = o.listed(m) || changed
	}
	allSeen := !slices.ContainsFunc(o.sites, func(s *Site) bool { return !s.seen })
	for _, n := range slices.Clone(o.nodes) {
		listed := slices.ContainsFunc(o.sites, func(s *Site) bool { return s.lists(n.cfg.Address) })
		if n.remote == nil || listed {
			continue
		}
		if n.remote.site == nil && allSeen {
			n.remote.site = o.site
		}
		if n.remote.site == o.site {
			changed = o.missing(n) || changed
		}
	}
	return changed
}

// listed decides about a balancer that the site lists. If two sites list it, the first one counts.
func (o siteObservation) listed(m RemoteBalancer) bool {
	n, isNew := o.nodes.find(m.Address), false
	switch {
	case n == nil:
		n, isNew = &Node{state: decide.Join(o.now), remote: &remote{}, cfg: config.Node{Address: m.Address, Priority: remotePriority}}, true
		o.nodes = o.nodes.insertRemote(n)
	case n.remote.site != nil && n.remote.site != o.site && n.remote.site.lists(m.Address):
		return false
	}
	n.remote.site, n.remote.location, n.remote.missed = o.site, m.Location, 0
	n.cfg.Port = o.site.cfg.At.Port()
	detail := fmt.Sprintf("%s reported combined weight %d (/fwmark/%d)", o.site.cfg.At, m.Health, o.cfg.Mark)
	return o.decideNode(o.now, n, &decide.Reading{At: o.read.At, Answered: true, Health: m.Health, Detail: detail}) || isNew
}

// missing decides about a node that its site does not list. A site that answers counts at once, a silent one after fall polls. The
// node then stays at weight 0 for max_down_ticks polls before it leaves.
func (o siteObservation) missing(n *Node) bool {
	at := n.remote.site.cfg.At
	reading := decide.Reading{At: o.read.At, Answered: o.read.Answered, Detail: fmt.Sprintf("%s: %s", at, o.read.Detail)}
	if o.read.Answered && o.read.Detail == "" {
		reading.Detail = fmt.Sprintf("%s does not list it (/fwmark/%d)", at, o.cfg.Mark)
	}
	changed := o.decideNode(o.now, n, &reading)
	if n.own.weight > 0 {
		return changed
	}
	if n.remote.missed++; n.remote.missed <= o.cfg.MaxDownTicks {
		return changed
	}
	o.nodes = slices.DeleteFunc(o.nodes, func(other *Node) bool { return other == n })
	if o.running {
		o.leaving.depart(n.cfg.Address, fmt.Sprintf("%s left: %s", cmp.Or(n.location(), "another data centre"), decide.Why(n.own.steps)))
	}
	return true
}

// memberReports are the reports of other data centres' balancers that have come or gone.
func memberReports(now time.Time, c *Cluster, before []*Node) []event.Report {
	var reports []event.Report
	for _, n := range c.nodes {
		if !slices.Contains(before, n) {
			r := c.report(now, event.MemberJoined, event.Info, "a site lists another data centre's balancer")
			reports = append(reports, aboutRemote(r, n, decide.Why(n.own.steps)))
		}
	}
	for _, n := range before {
		if !slices.Contains(c.nodes, n) {
			r := c.report(now, event.MemberLeft, event.Info, "no site lists another data centre's balancer now")
			reports = append(reports, aboutRemote(r, n, decide.Why(n.own.steps)))
		}
	}
	return reports
}

// aboutRemote completes a report about a node that is another data centre's balancer.
func aboutRemote(r event.Report, n *Node, cause string) event.Report {
	r.Node, r.Cause = n.cfg.Address.String(), strings.TrimPrefix(n.location()+": "+cause, ": ")
	return r
}

func siteReport(now time.Time, c *Cluster, s *Site, reading SiteReading, condition string) event.Report {
	r := c.report(now, event.SiteAnswers, event.Info, "another data centre's balancer reports its weights")
	if !reading.Answered {
		r = c.report(now, event.SiteSilent, event.Warn, "another data centre's balancer does not report its weights")
		r.Err = reading.Detail
	}
	r.Cause = s.cfg.At.String() + ": " + condition
	return r
}

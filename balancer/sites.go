package balancer

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// lastPriority has an active/passive cluster send packets to another data centre only when no node of its own is left. Were that up to
// the addresses, two data centres might each choose the other, again and again.
const lastPriority = math.MaxInt

// site is another data centre's balancer that a cluster asks what it has.
type site struct {
	cfg     config.Site
	seen    bool                   // it has been asked
	members []watch.RemoteBalancer // what it listed at the last look, and is taken; none when it was silent
	state   string                 // what was logged about it last

	watch   *watch.SiteWatcher // nil before the engine runs
	unwatch context.CancelFunc // ends it
}

// remote is what is known about a node that is another data centre's balancer.
type remote struct {
	holder   *site  // who listed it last; nil: taken over from the kernel's table, and no site has listed it yet
	location string // the data centre; "" is not told
	missed   int    // looks since it is at weight 0 for not being listed
}

// place names the data centre of a node for operators; "" is this one.
func (n *node) place() string {
	switch {
	case n.remote == nil:
		return ""
	case n.remote.location == "" && n.remote.holder == nil:
		return "unknown"
	case n.remote.location == "":
		return n.remote.holder.cfg.At.Addr().String()
	}
	return n.remote.location
}

// remoteSettings are those for nodes that are balancers: their weight is that of many nodes, each of which is ramped up and capped there.
func (c *cluster) remoteSettings() decide.Settings {
	return decide.Settings{Rise: c.cfg.Rise, Fall: c.cfg.Fall, WarmUp: c.settings().WarmUp}
}

func (s *site) lists(a netip.Addr) bool {
	return slices.ContainsFunc(s.members, func(m watch.RemoteBalancer) bool { return m.Address == a })
}

// setSites makes the cluster's sites these; those that it has already stay, and so do the nodes that they list.
func (c *cluster) setSites(sites []config.Site) {
	old := c.sites
	c.sites = nil
	for _, cfg := range sites {
		at := slices.IndexFunc(old, func(s *site) bool { return s.cfg == cfg })
		if at < 0 {
			c.sites = append(c.sites, &site{cfg: cfg})
			continue
		}
		c.sites = append(c.sites, old[at])
	}
	for _, s := range old {
		if !slices.Contains(c.sites, s) && s.unwatch != nil {
			s.unwatch()
		}
	}
}

// keepRemotes adds those of the nodes that are other data centres' balancers, as long as there is a site that may list them, and gives the rest of
// these.
func (c *cluster) keepRemotes(nodes []*node) (gone []*node) {
	for _, n := range nodes {
		switch {
		case n.remote == nil:
			continue
		case len(c.sites) == 0 || c.node(n.cfg.Address) != nil:
			gone = append(gone, n)
			continue
		case !slices.Contains(c.sites, n.remote.holder):
			n.remote.holder = nil // another one may list it; else it leaves at the next look
		}
		c.nodes = append(c.nodes, n)
	}
	return gone
}

// expect takes over, from the kernel's table, what earlier looks at the sites have put there, until they are heard.
func (c *cluster) expect(table []ipvs.Service) {
	for _, s := range table {
		for _, d := range s.Destinations {
			ours := s.Mark == c.mark() && d.Port == 0 && d.Weight > 0 && d.Forwarding == ipvs.Tunnel && !c.isPage(d)
			if ours && len(c.sites) > 0 && c.node(d.Address) == nil {
				c.addRemote(&node{cfg: config.Node{Address: d.Address, Priority: lastPriority}, remote: &remote{}})
			}
		}
	}
}

// addRemote adds a node behind those of the config, by address.
func (c *cluster) addRemote(n *node) {
	at := slices.IndexFunc(c.nodes, func(o *node) bool { return o.remote != nil && o.cfg.Address.Compare(n.cfg.Address) > 0 })
	if at < 0 {
		at = len(c.nodes)
	}
	c.nodes = slices.Insert(c.nodes, at, n)
}

// admit sorts out what a site lists: in gets packets, out says what does not, and why.
func (e *engine) admit(c *cluster, members []watch.RemoteBalancer) (in []watch.RemoteBalancer, out []string) {
	families := c.families()
	for _, m := range members {
		why := ""
		own := c.node(m.Address)
		switch {
		case m.Location != "" && m.Location == e.location:
			why = "is in this data centre, " + m.Location
		case slices.Contains(c.cfg.NonEgressLocations, m.Location):
			why = "gets nothing from here: " + m.Location + " is one of non_egress_locations"
		case m.Address == e.relayAddress:
			why = "is this balancer"
		case own != nil && own.remote == nil:
			why = "is a node of the cluster"
		case slices.ContainsFunc(c.cfg.VIPs, func(v config.VIP) bool { return v.Address == m.Address }):
			why = "is a virtual IP of the cluster"
		case !slices.Contains(families, ipvs.FamilyOf(m.Address)):
			why = "is of an IP version that no virtual IP of the cluster has"
		}
		if why == "" {
			in = append(in, m)
		} else {
			out = append(out, m.Address.String()+" "+why)
		}
	}
	return in, out
}

// hear takes in what a site told, or that it was silent. It tells whether that changed a node's own weight, or which nodes there are.
func (c *cluster) hear(now time.Time, s *site, r watch.SiteReading) bool {
	s.seen, s.members = true, r.Balancers
	changed := false
	for _, m := range r.Balancers {
		n := c.node(m.Address)
		switch {
		case n == nil:
			n = &node{state: decide.Join(now), remote: &remote{}, cfg: config.Node{Address: m.Address, Priority: lastPriority}}
			c.addRemote(n)
			changed = true
		case n.remote.holder != nil && n.remote.holder != s && n.remote.holder.lists(m.Address):
			continue // two sites list it: the first one's word counts
		}
		n.remote.holder, n.remote.location, n.remote.missed = s, m.Location, 0
		n.cfg.Port = s.cfg.At.Port()
		detail := fmt.Sprintf("on /fwmark/%d of %s: combined weight %d", c.cfg.Mark, s.cfg.At, m.Health)
		changed = c.weigh(now, n, &decide.Reading{At: r.At, Answered: true, Health: m.Health, Detail: detail}) || changed
	}
	heard := !slices.ContainsFunc(c.sites, func(o *site) bool { return !o.seen })
	for _, n := range slices.Clone(c.nodes) {
		listed := slices.ContainsFunc(c.sites, func(o *site) bool { return o.lists(n.cfg.Address) })
		if n.remote == nil || listed {
			continue
		}
		if n.remote.holder == nil && heard {
			n.remote.holder = s
		}
		if n.remote.holder == s {
			changed = c.miss(now, n, r) || changed
		}
	}
	return changed
}

// miss decides about a node that its site does not list: a site that answers is believed at once, one that is silent after fall looks. Then
// the node is at weight 0 for max_down_ticks looks, and leaves.
func (c *cluster) miss(now time.Time, n *node, r watch.SiteReading) bool {
	at := n.remote.holder.cfg.At
	reading := decide.Reading{At: r.At, Answered: r.Answered, Detail: fmt.Sprintf("on %s: %s", at, r.Detail)}
	if r.Answered && r.Detail == "" {
		reading.Detail = fmt.Sprintf("on /fwmark/%d of %s: not listed", c.cfg.Mark, at)
	}
	changed := c.weigh(now, n, &reading)
	if n.own.weight > 0 {
		return changed
	}
	if n.remote.missed++; n.remote.missed <= c.cfg.MaxDownTicks {
		return changed
	}
	c.nodes = slices.DeleteFunc(c.nodes, func(o *node) bool { return o == n })
	if c.running {
		if c.parted == nil {
			c.parted = map[netip.Addr]string{}
		}
		c.parted[n.cfg.Address] = fmt.Sprintf("%s left: %s", cmp.Or(n.place(), "another data centre"), decide.Why(n.own.steps))
	}
	return true
}

// takeSite takes in what a watcher of another data centre's balancer has found out.
func (e *engine) takeSite(news watch.SiteUpdate) {
	for _, c := range e.clusters {
		for _, s := range c.sites {
			if s.watch == news.From && e.hear(time.Now(), c, s, news.Reading) && c.running {
				e.dirty = true
			}
		}
	}
}

// hear has a cluster take in what a site told, and logs what is new about the site.
func (e *engine) hear(now time.Time, c *cluster, s *site, r watch.SiteReading) bool {
	told := len(r.Balancers)
	var out []string
	r.Balancers, out = e.admit(c, r.Balancers)
	if told > 0 && len(r.Balancers) == 0 {
		r.Detail = strings.Join(out, "; ")
	}
	state := strings.Join(out, "; ")
	switch {
	case !r.Answered:
		state = "no usable answer"
	case told == 0:
		state = r.Detail
	}
	if state != s.state || !s.seen {
		e.saySite(c, s, r, cmp.Or(state, "takes packets"))
		s.state = state
	}
	before := slices.Clone(c.nodes)
	changed := c.hear(now, s, r)
	if changed {
		e.sayMembers(c, before)
	}
	return changed
}

// sayMembers tells which of the other data centres' balancers have come or gone.
func (e *engine) sayMembers(c *cluster, before []*node) {
	for _, n := range c.nodes {
		if !slices.Contains(before, n) {
			e.sayMember(c, n, event.MemberJoined, "another data centre's balancer is listed", decide.Why(n.own.steps))
		}
	}
	for _, n := range before {
		if !slices.Contains(c.nodes, n) {
			e.sayMember(c, n, event.MemberLeft, "another data centre's balancer is listed no more", decide.Why(n.own.steps))
		}
	}
}

func (e *engine) sayMember(c *cluster, n *node, kind event.Kind, text, cause string) {
	ev := c.about(kind, text)
	ev.Node, ev.Cause = n.cfg.Address.String(), strings.TrimPrefix(n.place()+": "+cause, ": ")
	e.tell(slog.LevelInfo, ev)
}

func (e *engine) saySite(c *cluster, s *site, r watch.SiteReading, state string) {
	ev, level := c.about(event.SiteAnswers, "another data centre's balancer tells its weights"), slog.LevelInfo
	if !r.Answered {
		ev, level = c.about(event.SiteSilent, "another data centre's balancer does not tell its weights"), slog.LevelWarn
		ev.Err = r.Detail
	}
	ev.Cause = s.cfg.At.String() + ": " + state
	e.tell(level, ev)
}

// watchSites starts and stops watchers so that every site of the cluster has its own.
func (e *engine) watchSites(ctx context.Context, c *cluster) {
	for _, s := range c.sites {
		if s.watch != nil && s.watch.Matches(c.cfg, s.cfg) {
			continue
		}
		if s.unwatch != nil {
			s.unwatch()
		}
		s.watch = watch.NewSiteWatcher(c.cfg, s.cfg)
		var watched context.Context
		watched, s.unwatch = context.WithCancel(ctx)
		w, p := s.watch, e.sitePoller(c.cfg, s.cfg)
		e.watchers.Go(func() { w.Run(watched, p, e.siteNews) })
	}
}

// unwatch ends the watchers of a cluster's nodes and sites.
func (c *cluster) unwatch() {
	for _, n := range c.nodes {
		if n.unwatch != nil {
			n.unwatch()
		}
	}
	for _, s := range c.sites {
		if s.unwatch != nil {
			s.unwatch()
		}
	}
}

// stranger says what is the matter with a destination that is no node.
func (c *cluster) stranger(a netip.Addr) string { return cmp.Or(c.parted[a], "not in the config") }

package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/ipvs"
)

// Status describes the model beside a table of the kernel. It changes nothing. rejected says what the kernel rejects about a cluster.
func (m *Model) Status(now time.Time, table []ipvs.Service, rejected func(*Cluster) string) api.Status {
	s := api.Status{Location: m.location, Clusters: make([]api.ClusterStatus, 0, len(m.clusters))}
	if m.relayAddress.IsValid() {
		s.RelayAddress = m.relayAddress.String()
	}
	for _, c := range m.clusters {
		shown := c
		if c.stale { // show what follows from the latest readings, and leave the decision to the next reconcile
			shown = c.clone()
			shown.decideCluster(now)
		}
		cs := shown.status(now, table)
		cs.LastError = rejected(c)
		s.Clusters = append(s.Clusters, cs)
	}
	return s
}

func (c *Cluster) status(now time.Time, table []ipvs.Service) api.ClusterStatus {
	s := api.ClusterStatus{
		Name: c.cfg.Name, Mark: c.cfg.Mark, Scheduler: c.cfg.Scheduler, Running: c.running, Nodes: make([]api.NodeStatus, 0, len(c.nodes)),
		Mode: c.cfg.Mode, AllDown: c.cfg.AllDown, Notice: c.notice(),
	}
	if c.cfg.Relay.Enabled {
		s.RelayMark = c.cfg.Relay.Mark
	}
	for _, n := range c.nodes {
		s.Nodes = append(s.Nodes, n.status())
	}
	for _, service := range table {
		if slices.Contains(c.Marks(), service.Mark) {
			for _, d := range service.Destinations {
				c.addDestination(&s, now, d)
			}
		}
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Drain != nil && (n.ActiveConns > 0 || n.KernelWeight != nil && *n.KernelWeight > 0) {
			n.State = api.StateDraining
		}
	}
	return s
}

// status describes the node as far as the kernel's table does not matter.
func (n *Node) status() api.NodeStatus {
	s := api.NodeStatus{
		Address: n.cfg.Address.String(), Site: n.location(), Port: n.cfg.Port, Weight: n.weight, State: n.state.Name(), Why: n.why(), Steps: n.steps,
		ReadAt: n.state.LastReading.At, Readings: n.readings, Watched: "poll",
	}
	if n.drain != nil {
		drain := n.drain.Status
		s.Drain = &drain
	}
	if n.state.HasReading && n.state.Phase != decide.Unknown {
		health := n.state.Health
		s.Health = &health
	}
	return s
}

// addDestination adds what the kernel knows about a destination. Figures of a node that is in two services are added up, but for the weight.
func (c *Cluster) addDestination(s *api.ClusterStatus, now time.Time, d ipvs.Destination) {
	if c.isPage(d) {
		c.addPage(s, d)
		return
	}
	address := d.Address.String()
	i := slices.IndexFunc(s.Nodes, func(n api.NodeStatus) bool { return d.Port == 0 && n.Address == address })
	if i < 0 {
		i = len(s.Nodes)
		s.Nodes = append(s.Nodes, c.leavingStatus(now, d))
	}
	n, weight := &s.Nodes[i], int(d.Weight)
	if s.Running && !c.desperate() && n.KernelWeight == nil && n.Site == "" {
		s.CombinedWeight += weight
	}
	n.KernelWeight = &weight
	n.ActiveConns += d.ActiveConns
	n.InactiveConns += d.InactiveConns
	n.Traffic = add(n.Traffic, api.Traffic(d.Stats))
}

// addPage adds what the kernel knows about the server of last resort, which is no node.
func (c *Cluster) addPage(s *api.ClusterStatus, d ipvs.Destination) {
	if s.Downpage == nil {
		s.Downpage = &api.NodeStatus{Address: d.Address.String(), State: api.StateLeaving, Why: c.pageCause(), Steps: []decide.Step{}}
		if c.verdict.Downpage {
			s.Downpage.State, s.Downpage.Weight = "up", 1
		}
	}
	weight := int(d.Weight)
	s.Downpage.KernelWeight = &weight
	s.Downpage.ActiveConns += d.ActiveConns
	s.Downpage.InactiveConns += d.InactiveConns
}

// leavingStatus describes a destination that the configuration does not have.
func (c *Cluster) leavingStatus(now time.Time, d ipvs.Destination) api.NodeStatus {
	why := c.leavingCause(d.Address)
	for id, since := range c.leaving {
		if id.Addr() == d.Address && id.Port() == d.Port {
			why = fmt.Sprintf("%s: it keeps its connections for up to %s, %s have passed", why, c.cfg.DrainTimeout, now.Sub(since).Round(time.Second))
		}
	}
	in := int(d.Weight)
	return api.NodeStatus{
		Address: d.Address.String(), Port: d.Port, State: api.StateLeaving, Why: why,
		Steps: []decide.Step{{Name: "drain", In: in, Out: 0, Reason: why}},
	}
}

func add(a, b api.Traffic) api.Traffic {
	return api.Traffic{
		Connections: a.Connections + b.Connections, PacketsIn: a.PacketsIn + b.PacketsIn, PacketsOut: a.PacketsOut + b.PacketsOut,
		BytesIn: a.BytesIn + b.BytesIn, BytesOut: a.BytesOut + b.BytesOut,
	}
}

// Unknown describes what a reconcile with these operations does that nobody can know yet, one sentence each.
func (m *Model) Unknown(added func(*Cluster, *Node) bool) []string {
	var notes []string
	for _, c := range m.clusters {
		for _, n := range c.nodes {
			if !n.state.HasReading && added(c, n) {
				notes = append(notes, fmt.Sprintf("cluster %s, node %s: its weight follows from its first response", c.cfg.Name, n.cfg.Address))
			}
		}
		for _, s := range c.sites {
			if c.running && !s.seen {
				notes = append(notes, fmt.Sprintf("cluster %s: what %s lists is known after its first response", c.cfg.Name, s.cfg.At))
			}
		}
		if c.ServesPage() && c.running && c.verdict.Downpage && len(c.page) == 0 {
			notes = append(notes, fmt.Sprintf("cluster %s: its downpage enters at a port that the kernel picks", c.cfg.Name))
		}
	}
	return notes
}

package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/ipvs"
)

// Status describes the model together with a table of the kernel. It changes nothing. rejected returns the kernel's error for a cluster.
func (m *Model) Status(now time.Time, table []ipvs.Service, rejected func(*Cluster) string) api.Status {
	s := api.Status{Location: m.location, Clusters: make([]api.ClusterStatus, 0, len(m.clusters))}
	if m.relayAddress.IsValid() {
		s.RelayAddress = m.relayAddress.String()
	}
	for _, c := range m.clusters {
		shown := c
		if c.stale { // show the result of the latest readings; the next reconcile makes the decision
			shown = c.clone()
			shown.decideCluster(now)
		}
		cs := shown.status(now, table)
		cs.LastError, cs.VIPs = rejected(c), c.vips(m.machine)
		s.Clusters = append(s.Clusters, cs)
	}
	return s
}

// status describes the cluster together with a table of the kernel.
func (c *Cluster) status(now time.Time, table []ipvs.Service) api.ClusterStatus {
	s := statusBuilder{c, now, api.ClusterStatus{
		Name: c.cfg.Name, Mark: c.cfg.Mark, Scheduler: c.cfg.Scheduler, Running: c.running, Nodes: make([]api.NodeStatus, 0, len(c.nodes)),
		Mode: c.cfg.Mode, AllDown: c.cfg.AllDown, Notice: notice(c),
	}}
	if c.cfg.Relay.Enabled {
		s.out.RelayMark = c.cfg.Relay.Mark
	}
	for _, n := range c.nodes {
		s.out.Nodes = append(s.out.Nodes, n.status())
	}
	for _, service := range table {
		if c.hasMark(service.Mark) {
			for _, d := range service.Destinations {
				s.addDestination(d)
			}
		}
	}
	for i := range s.out.Nodes {
		if n := &s.out.Nodes[i]; n.Drain != nil && (n.ActiveConns > 0 || n.KernelWeight != nil && *n.KernelWeight > 0) {
			n.State = api.StateDraining
		}
	}
	return s.out
}

// status describes the node without the kernel's figures.
func (n *Node) status() api.NodeStatus {
	s := api.NodeStatus{
		Address: n.cfg.Address.String(), Site: n.location(), Port: n.cfg.Port, Weight: n.weight, State: n.state.Name(),
		Why: n.why(), Steps: n.steps,
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

// statusBuilder adds what the kernel knows to the status of a cluster.
type statusBuilder struct {
	*Cluster
	now time.Time
	out api.ClusterStatus
}

// addDestination adds the kernel's figures of a destination. Figures of a node that is in two services are summed, except for the
// weight.
func (s *statusBuilder) addDestination(d ipvs.Destination) {
	if s.isPage(d) {
		s.addPage(d)
		return
	}
	address := d.Address.String()
	i := slices.IndexFunc(s.out.Nodes, func(n api.NodeStatus) bool { return d.Port == 0 && n.Address == address })
	if i < 0 {
		i = len(s.out.Nodes)
		s.out.Nodes = append(s.out.Nodes, s.leavingNode(d))
	}
	n, weight := &s.out.Nodes[i], int(d.Weight)
	if s.running && !s.desperate() && n.KernelWeight == nil && n.Site == "" {
		s.out.CombinedWeight += weight
	}
	n.KernelWeight = &weight
	n.ActiveConns += d.ActiveConns
	n.InactiveConns += d.InactiveConns
	n.Traffic = add(n.Traffic, api.Traffic(d.Stats))
}

// addPage adds the kernel's figures of the downpage, which is not a node.
func (s *statusBuilder) addPage(d ipvs.Destination) {
	page := s.out.Downpage
	if page == nil {
		page = &api.NodeStatus{Address: d.Address.String(), State: api.StateLeaving, Why: s.pageCause(), Steps: []decide.Step{}}
		if s.verdict.Downpage {
			page.State, page.Weight = "up", 1
		}
		s.out.Downpage = page
	}
	weight := int(d.Weight)
	page.KernelWeight = &weight
	page.ActiveConns += d.ActiveConns
	page.InactiveConns += d.InactiveConns
}

// leavingNode describes a destination that is not in the configuration.
func (s *statusBuilder) leavingNode(d ipvs.Destination) api.NodeStatus {
	why := s.leaving.progress(s.now, d, s.cfg.DrainTimeout)
	return api.NodeStatus{
		Address: d.Address.String(), Port: d.Port, State: api.StateLeaving, Why: why,
		Steps: []decide.Step{{Name: "drain", In: int(d.Weight), Out: 0, Reason: why}},
	}
}

func add(a, b api.Traffic) api.Traffic {
	return api.Traffic{
		Connections: a.Connections + b.Connections, PacketsIn: a.PacketsIn + b.PacketsIn, PacketsOut: a.PacketsOut + b.PacketsOut,
		BytesIn: a.BytesIn + b.BytesIn, BytesOut: a.BytesOut + b.BytesOut,
	}
}

// Unknown describes the effects of these operations that are not known yet, one sentence each.
func (m *Model) Unknown(added func(*Cluster, *Node) bool) []string {
	var notes []string
	for _, c := range m.clusters {
		for _, n := range c.nodes {
			if !n.state.HasReading && (n.state.InCluster.Removed || added(c, n)) {
				notes = append(notes,
					fmt.Sprintf("cluster %s, node %s: its weight depends on its first response", c.cfg.Name, n.cfg.Address))
			}
		}
		for _, s := range c.sites {
			if c.running && !s.seen {
				notes = append(notes, fmt.Sprintf("cluster %s: what %s lists is unknown until its first response", c.cfg.Name, s.cfg.At))
			}
		}
		if c.ServesPage() && c.running && c.verdict.Downpage && len(c.page) == 0 {
			notes = append(notes, fmt.Sprintf("cluster %s: its downpage gets a port that the kernel chooses", c.cfg.Name))
		}
	}
	return notes
}

package balancer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Status is the balancer as GET / describes it in JSON.
type Status struct {
	Version      string          `json:"version"`
	Location     string          `json:"location,omitempty"`      // the data centre
	RelayAddress string          `json:"relay_address,omitempty"` // that others send packets to; "": the one that they ask
	KernelErrors int             `json:"kernel_errors"`           // refusals and unreadable tables since the start
	Clusters     []ClusterStatus `json:"clusters"`                // by name
}

// ClusterStatus is a cluster as the balancer describes it in JSON.
type ClusterStatus struct {
	Name           string         `json:"name"`
	Mark           uint32         `json:"mark"`
	RelayMark      uint32         `json:"relay_mark,omitempty"` // of what comes from other data centres; 0: nothing is to
	Scheduler      string         `json:"scheduler"`
	Running        bool           `json:"running"`
	Mode           config.Mode    `json:"mode"`            // active_active or active_passive
	AllDown        config.AllDown `json:"all_down"`        // what happens when no node has weight
	Notice         string         `json:"notice"`          // what is out of the ordinary, in a sentence; "" when nothing
	Downpage       *NodeStatus    `json:"downpage"`        // null: the kernel's table has not got it
	CombinedWeight int            `json:"combined_weight"` // of this data centre's nodes in the kernel's table; 0 unless Running, and when none is well but AllDown gives weights
	Nodes          []NodeStatus   `json:"nodes"`           // in the config's order, then those that drain
	LastError      string         `json:"last_error"`      // what is wrong with the kernel now; "" when nothing

	configured int // of Nodes, those that are in the config
}

// NodeStatus is a node of a cluster as the balancer describes it in JSON.
type NodeStatus struct {
	Address       string        `json:"address"`
	Site          string        `json:"site,omitempty"` // the data centre whose balancer it is; "": a node of this one
	Port          uint16        `json:"port"`           // of the agent
	Health        *int          `json:"health"`         // of the last usable answer; null: none yet
	Weight        int           `json:"weight"`         // as decided
	KernelWeight  *int          `json:"kernel_weight"`  // null: the kernel's table has not got the node
	State         string        `json:"state"`          // unknown, down, held, passive, ramping, up; draining and then drained; leaving
	Why           string        `json:"why"`            // the weight, in a sentence
	Steps         []decide.Step `json:"steps"`          // the weight, stage by stage
	Drain         *DrainStatus  `json:"drain,omitempty"`
	ActiveConns   int           `json:"active_connections"`
	InactiveConns int           `json:"inactive_connections"`
	LastReading   *int64        `json:"last_reading_age_ms"` // since it came, or was last confirmed by a stream; null: none yet
	Watched       string        `json:"watched"`             // by "stream" or "poll"; "" for one that is not in the config
	Traffic       ipvs.Stats    `json:"traffic"`             // what the kernel has counted since the node is in its table

	readAt   time.Time
	readings readings
}

// Name is the node's address, with the data centre of one that is another data centre's balancer.
func (n NodeStatus) Name() string {
	if n.Site == "" {
		return n.Address
	}
	return n.Address + " (" + n.Site + ")"
}

// view is the state of all clusters at one time, for readers. It is never changed.
type view struct {
	clusters     []ClusterStatus
	kernelErrors int
	location     string
	relayAddress string
}

// Status gives the state of the balancer, with clusters by name and with the kernel's own figures of just now. While the kernel keeps the
// owner busy it gives the latest that is known.
func (e *engine) Status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = e.do(ctx, func(ctx context.Context) { // else the last view has to do
		if time.Since(e.read) > fresh {
			e.look(ctx)
		}
		e.publish(time.Now())
	})
	return e.view.Load().asOf(time.Now())
}

// asOf copies the view with the ages of its readings filled in.
func (v *view) asOf(now time.Time) Status {
	clusters := slices.Clone(v.clusters)
	for i := range clusters {
		clusters[i].Nodes = slices.Clone(clusters[i].Nodes)
		for j := range clusters[i].Nodes {
			if n := &clusters[i].Nodes[j]; !n.readAt.IsZero() {
				age := now.Sub(n.readAt).Milliseconds()
				n.LastReading = &age
			}
		}
	}
	return Status{Location: v.location, RelayAddress: v.relayAddress, KernelErrors: v.kernelErrors, Clusters: clusters}
}

// publish makes the view of the present state.
func (e *engine) publish(now time.Time) {
	e.heard = false
	v := &view{clusters: []ClusterStatus{}, kernelErrors: e.failures, location: e.location}
	if e.relayAddress.IsValid() {
		v.relayAddress = e.relayAddress.String()
	}
	for _, c := range e.clusters {
		if c.stale {
			c.settle(now)
		}
		v.clusters = append(v.clusters, e.clusterStatus(now, c))
	}
	e.view.Store(v)
}

func (e *engine) clusterStatus(now time.Time, c *cluster) ClusterStatus {
	s := ClusterStatus{
		Name: c.cfg.Name, Mark: c.cfg.Mark, Scheduler: c.cfg.Scheduler, Running: c.running, Nodes: []NodeStatus{},
		Mode: c.cfg.Mode, AllDown: c.cfg.AllDown, Notice: c.notice(),
		LastError: troubles(e.trouble, c.trouble, e.markTrouble),
	}
	if c.cfg.Relay.Enabled {
		s.RelayMark = c.cfg.Relay.Mark
	}
	for _, n := range c.nodes {
		st := NodeStatus{
			Address: n.cfg.Address.String(), Site: n.place(), Port: n.cfg.Port, Weight: n.weight, State: n.state.Name(), Why: n.why(), Steps: n.steps,
			readAt: n.state.LastReading.At, readings: n.readings, Watched: "poll",
		}
		if n.watch != nil && n.watch.Streaming() {
			st.Watched = "stream"
			if heard := n.watch.LastSeen(); n.state.HasReading && heard.After(st.readAt) {
				st.readAt = heard
			}
		}
		if n.order != nil {
			st.Drain = drainStatus(*n.order)
		}
		if n.state.HasReading && n.state.Phase != decide.Unknown {
			health := n.state.Health
			st.Health = &health
		}
		s.Nodes = append(s.Nodes, st)
	}
	s.configured = len(s.Nodes)
	for _, service := range e.actual {
		if !slices.Contains(c.marks(), service.Mark) {
			continue
		}
		for _, d := range service.Destinations {
			s.add(now, c, d)
		}
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Drain != nil && (n.ActiveConns > 0 || n.KernelWeight != nil && *n.KernelWeight > 0) {
			n.State = "draining"
		}
	}
	return s
}

// add adds what the kernel says about a destination. The kernel's figures of one that it has in two services are summed up, but for the weight.
func (s *ClusterStatus) add(now time.Time, c *cluster, d ipvs.Destination) {
	if c.isPage(d) {
		s.addPage(c, d)
		return
	}
	address := d.Address.String()
	i := slices.IndexFunc(s.Nodes, func(n NodeStatus) bool { return d.Port == 0 && n.Address == address })
	if i < 0 {
		i = len(s.Nodes)
		s.Nodes = append(s.Nodes, leaver(now, c, d))
	}
	n, weight := &s.Nodes[i], int(d.Weight)
	if s.Running && !c.desperate() && n.KernelWeight == nil && n.Site == "" {
		s.CombinedWeight += weight
	}
	n.KernelWeight = &weight
	n.ActiveConns += d.ActiveConns
	n.InactiveConns += d.InactiveConns
	n.Traffic = add(n.Traffic, d.Stats)
}

// leaver describes a node that the kernel has and the config has not.
func leaver(now time.Time, c *cluster, d ipvs.Destination) NodeStatus {
	why := c.stranger(d.Address)
	for id, since := range c.left {
		if id.Addr() == d.Address && id.Port() == d.Port {
			why = fmt.Sprintf("%s: it keeps its connections for %s at most, %s are over", why,
				c.cfg.DrainTimeout, now.Sub(since).Round(time.Second))
		}
	}
	in := int(d.Weight)
	return NodeStatus{
		Address: d.Address.String(), Port: d.Port, State: "leaving", Why: why,
		Steps: []decide.Step{{Name: "drain", In: in, Out: 0, Reason: why}},
	}
}

package balancer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/ipvs"
)

// view is the state of all clusters at one time, for readers. It is never changed.
type view struct {
	clusters     []api.ClusterStatus
	kernelErrors int
	location     string
	relayAddress string
}

// Status gives the state of the balancer, with clusters by name and with the kernel's own figures of just now. While the kernel keeps the
// owner busy it gives the latest that is known.
func (e *engine) Status(ctx context.Context) api.Status {
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
func (v *view) asOf(now time.Time) api.Status {
	clusters := slices.Clone(v.clusters)
	for i := range clusters {
		clusters[i].Nodes = slices.Clone(clusters[i].Nodes)
		for j := range clusters[i].Nodes {
			if n := &clusters[i].Nodes[j]; !n.ReadAt.IsZero() {
				age := now.Sub(n.ReadAt).Milliseconds()
				n.LastReading = &age
			}
		}
	}
	return api.Status{Location: v.location, RelayAddress: v.relayAddress, KernelErrors: v.kernelErrors, Clusters: clusters}
}

// publish makes the view of the present state.
func (e *engine) publish(now time.Time) {
	e.heard = false
	v := &view{clusters: []api.ClusterStatus{}, kernelErrors: e.failures, location: e.location}
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

func (e *engine) clusterStatus(now time.Time, c *cluster) api.ClusterStatus {
	s := api.ClusterStatus{
		Name: c.cfg.Name, Mark: c.cfg.Mark, Scheduler: c.cfg.Scheduler, Running: c.running, Nodes: []api.NodeStatus{},
		Mode: c.cfg.Mode, AllDown: c.cfg.AllDown, Notice: c.notice(),
		LastError: troubles(e.trouble, c.trouble, e.markTrouble),
	}
	if c.cfg.Relay.Enabled {
		s.RelayMark = c.cfg.Relay.Mark
	}
	for _, n := range c.nodes {
		st := api.NodeStatus{
			Address: n.cfg.Address.String(), Site: n.place(), Port: n.cfg.Port, Weight: n.weight, State: n.state.Name(), Why: n.why(), Steps: n.steps,
			ReadAt: n.state.LastReading.At, Readings: n.readings, Watched: "poll",
		}
		if n.watch != nil && n.watch.Streaming() {
			st.Watched = "stream"
			if heard := n.watch.LastSeen(); n.state.HasReading && heard.After(st.ReadAt) {
				st.ReadAt = heard
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
	for _, service := range e.actual {
		if !slices.Contains(c.marks(), service.Mark) {
			continue
		}
		for _, d := range service.Destinations {
			addDestination(&s, now, c, d)
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
func addDestination(s *api.ClusterStatus, now time.Time, c *cluster, d ipvs.Destination) {
	if c.isPage(d) {
		addPage(s, c, d)
		return
	}
	address := d.Address.String()
	i := slices.IndexFunc(s.Nodes, func(n api.NodeStatus) bool { return d.Port == 0 && n.Address == address })
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
	n.Traffic = add(n.Traffic, api.Traffic(d.Stats))
}

// leaver describes a node that the kernel has and the config has not.
func leaver(now time.Time, c *cluster, d ipvs.Destination) api.NodeStatus {
	why := c.stranger(d.Address)
	for id, since := range c.left {
		if id.Addr() == d.Address && id.Port() == d.Port {
			why = fmt.Sprintf("%s: it keeps its connections for %s at most, %s are over", why,
				c.cfg.DrainTimeout, now.Sub(since).Round(time.Second))
		}
	}
	in := int(d.Weight)
	return api.NodeStatus{
		Address: d.Address.String(), Port: d.Port, State: "leaving", Why: why,
		Steps: []decide.Step{{Name: "drain", In: in, Out: 0, Reason: why}},
	}
}

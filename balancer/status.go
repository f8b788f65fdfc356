package balancer

import (
	"context"
	"net/netip"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/netx/ipvs"
)

// statusTime bounds the wait for a status while the kernel keeps the engine busy: after that the latest snapshot serves.
const statusTime = time.Second

// snapshot is what readers see of the engine. It is never changed.
type snapshot struct {
	model        *cluster.Model    // a clone
	services     []ipvs.Service    // the kernel's table as the engine knows it
	at           time.Time         // of services
	errors       map[string]string // of the kernel, by cluster
	kernelErrors int               // since the start
	problems     []api.Problem
	watchers     map[cluster.NodeKey]*watch.Watcher
}

// publish makes a snapshot of the present state.
func (e *engine) publish() {
	e.schedule.observed = false
	s := &snapshot{
		model: e.rec.Model.Clone(), services: e.rec.Kernel.Table.Services(), at: e.rec.Kernel.Table.At(), errors: map[string]string{},
		kernelErrors: e.rec.Kernel.Errors(), problems: e.rec.Report.Standing(), watchers: e.watchers.byKey,
	}
	for _, c := range e.rec.Model.Clusters() {
		s.errors[c.Name()] = e.rec.LastError(c)
	}
	e.snapshot.Store(s)
}

// Status returns the state of the balancer, with the kernel's own figures of this moment. It changes nothing: neither what the
// engine writes to the kernel nor when. While the kernel keeps the engine busy it returns the latest state that is known.
func (e *engine) Status(ctx context.Context) api.Status {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	_ = e.do(ctx, func(context.Context) { e.publish() }) // otherwise the last snapshot serves
	s := e.snapshot.Load()
	status := s.status(time.Now(), e.figures.Read(ctx, s.services, s.at))
	status.Refused = e.refused.Load()
	return status
}

// status describes the snapshot together with the kernel's figures.
func (s *snapshot) status(now time.Time, services []ipvs.Service) api.Status {
	status := s.model.Status(now, services, func(c *cluster.Cluster) string { return s.errors[c.Name()] })
	status.KernelErrors = s.kernelErrors
	status.Problems = problemsOf(s.problems, "")
	for at := range status.Clusters {
		c := &status.Clusters[at]
		c.Problems = append(problemsOf(s.problems, c.Name), status.Problems...)
		for i := range c.Nodes {
			s.addReading(now, c.Name, &c.Nodes[i])
		}
	}
	return status
}

// problemsOf returns the problems of a cluster; with "" those of every cluster.
func problemsOf(all []api.Problem, cluster string) []api.Problem {
	of := []api.Problem{}
	for _, p := range all {
		if p.Cluster == cluster {
			of = append(of, p)
		}
	}
	return of
}

// addReading adds how a node is watched and how old its last reading is. A stream confirms the last reading with each heartbeat.
func (s *snapshot) addReading(now time.Time, cluster string, n *api.NodeStatus) {
	w := s.watchers[watchKey(cluster, n)]
	if w != nil && w.Streaming() {
		n.Watched = "stream"
		if seen := w.LastSeen(); !n.ReadAt.IsZero() && seen.After(n.ReadAt) {
			n.ReadAt = seen
		}
	}
	if !n.ReadAt.IsZero() {
		age := now.Sub(n.ReadAt).Milliseconds()
		n.LastReading = &age
	}
}

// watchKey is the key of a node's watcher. Nodes that are leaving and other data centres' balancers have none.
func watchKey(name string, n *api.NodeStatus) cluster.NodeKey {
	address, err := netip.ParseAddr(n.Address)
	if err != nil || n.State == api.StateLeaving || n.Site != "" {
		return cluster.NodeKey{}
	}
	return cluster.NodeKey{Cluster: name, Node: address}
}

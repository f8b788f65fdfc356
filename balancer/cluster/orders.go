package cluster

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
)

// NodeKey names a node of a cluster.
type NodeKey struct {
	Cluster string
	Node    netip.Addr
}

// SetDrains sets which nodes operators drain, from now on. Drains of unknown nodes have no effect.
func (m *Model) SetDrains(drains map[NodeKey]Drain) {
	if len(drains) == 0 && !m.drains {
		return
	}
	m.drains = len(drains) > 0
	for _, c := range m.clusters {
		for _, n := range c.nodes {
			n.drain = nil
			if d, drained := drains[NodeKey{c.cfg.Name, n.cfg.Address}]; drained {
				n.drain = &d
			}
		}
	}
}

// CheckDrain returns the names of the clusters in which an order drains a node. It fails with an *api.NoClusterError, an *api.NoNodeError
// or, without Force, with an *api.TooFewError for each cluster that would have too few healthy nodes left. drained reports whether a node
// is drained already.
func (m *Model) CheckDrain(o api.DrainOrder, drained func(NodeKey) bool) ([]string, error) {
	clusters := m.clusters
	if o.Cluster != "" {
		c, err := m.Find(o.Cluster)
		if err != nil {
			return nil, err
		}
		clusters = []*Cluster{c}
	}
	var names, nodes []string
	var errs []error
	for _, c := range clusters {
		for _, n := range c.nodes {
			nodes = append(nodes, n.cfg.Address.String())
		}
		n := c.nodes.find(o.Node)
		if n == nil {
			continue
		}
		names = append(names, c.cfg.Name)
		isDrained := func(n *Node) bool { return drained(NodeKey{c.cfg.Name, n.cfg.Address}) }
		counts := (n.own.weight > 0 || n.state.Phase == decide.Unknown) && !isDrained(n) // it is healthy, or may be
		if left := c.nodes.healthyWithout(n, isDrained); !o.Force && counts && left < c.cfg.MinHealthy {
			errs = append(errs, &api.TooFewError{Cluster: c.cfg.Name, Node: o.Node, Left: left, Least: c.cfg.MinHealthy})
		}
	}
	if len(names) == 0 {
		slices.Sort(nodes)
		return nil, &api.NoNodeError{Cluster: o.Cluster, Node: o.Node, Nodes: slices.Compact(nodes)}
	}
	return names, errors.Join(errs...)
}

// SetFiles sets the up and down files of the clusters, by their names, and returns the names that no cluster has. If complete is
// false, some files could not be seen: a cluster then keeps a file that is missing.
func (m *Model) SetFiles(now time.Time, files map[string]decide.Override, complete bool) (unknown []string) {
	for _, c := range m.clusters {
		file, exists := files[c.cfg.Name]
		hidden := !exists || c.file.Kind == decide.OverrideUp && file.Kind == decide.OverrideDown
		if hidden && !complete {
			continue
		}
		if file != c.file {
			m.emit(fileReport(now, c, file))
		}
		c.file = file
	}
	for name := range files {
		if _, err := m.Find(name); err != nil {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// fileReport is the report of a cluster's file that has appeared, changed or gone.
func fileReport(now time.Time, c *Cluster, f decide.Override) event.Report {
	r := c.report(now, event.FileAppeared, event.Warn, "the cluster has "+aFile(f)+" file: it overrides the health of its nodes")
	if f.Kind == decide.NoOverride {
		r = c.report(now, event.FileGone, event.Warn,
			"the cluster's "+c.file.String()+" file is gone: the health of its nodes counts again")
	}
	r.Cause, r.Old, r.New = f.Reason, c.file.String(), f.String()
	return r
}

func aFile(f decide.Override) string {
	if f.Kind == decide.OverrideUp {
		return "an up"
	}
	return "a down"
}

// notice describes an abnormal condition of the whole cluster; "" if there is none.
func notice(c *Cluster) string {
	var notices []string
	if c.file.Kind != decide.NoOverride {
		notices = append(notices, strings.TrimSuffix("the cluster has "+aFile(c.file)+" file: "+c.file.Reason, ": "))
	}
	if c.running && c.verdict.Notice != "" {
		notices = append(notices, c.verdict.Notice)
	}
	return strings.Join(notices, "; ")
}

// Package cluster is the model of the balancer: what it knows about clusters and their nodes, and the table that follows from it. It does no input
// or output, takes no locks and reads no clock: readings, orders and the time are arguments.
package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// idleInterval is the time between two reconciles while the configuration has no cluster.
const idleInterval = 2 * time.Second

// Model is the state of all clusters. One goroutine uses it at a time.
type Model struct {
	clusters     []*Cluster // by name
	retired      map[ipvs.Mark]retirement
	location     string     // of this data centre; "": not configured
	relayAddress netip.Addr // where other data centres send packets; invalid: not configured
	sync         config.Sync
	drains       bool           // SetDrains has set drains that a later call has to clear
	reports      []event.Report // that TakeReports has yet to return
}

// retirement is a mark whose service is to be removed. lb owns the mark until the service is gone.
type retirement struct {
	cause      string
	afterMarks bool // packets may still get this mark: wait until the marking rules are right
}

// New returns the model of a configuration. Nothing runs and nothing is known yet.
func New(cfg *config.Config) *Model {
	m := &Model{retired: map[ipvs.Mark]retirement{}}
	m.configure(cfg)
	for _, c := range cfg.Clusters {
		n := &Cluster{cfg: c}
		n.setNodes(decide.State{})
		n.setSites()
		m.clusters = append(m.clusters, n)
	}
	m.sort()
	return m
}

func (m *Model) configure(cfg *config.Config) {
	m.location, m.relayAddress, m.sync = cfg.Balancer.Location, cfg.Balancer.RelayAddress, cfg.Balancer.Sync
}

func (m *Model) sort() {
	slices.SortFunc(m.clusters, func(a, b *Cluster) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
}

// Clusters returns the clusters by name. The caller must not change the list.
func (m *Model) Clusters() []*Cluster { return m.clusters }

// Find returns the cluster of that name; an *api.NoClusterError if there is none.
func (m *Model) Find(name string) (*Cluster, error) {
	for _, c := range m.clusters {
		if c.cfg.Name == name {
			return c, nil
		}
	}
	return nil, &api.NoClusterError{Name: name}
}

// Running returns the running cluster that has a mark; nil if there is none.
func (m *Model) Running(mark ipvs.Mark) *Cluster {
	for _, c := range m.clusters {
		if c.running && slices.Contains(c.Marks(), mark) {
			return c
		}
	}
	return nil
}

// Interval is the time between two reconciles: the shortest check interval of the clusters.
func (m *Model) Interval() time.Duration {
	shortest := time.Duration(0)
	for _, c := range m.clusters {
		if shortest == 0 || c.cfg.CheckInterval < shortest {
			shortest = c.cfg.CheckInterval
		}
	}
	return cmp.Or(shortest, idleInterval)
}

// Sync is the connection synchronization that the configuration wants.
func (m *Model) Sync() config.Sync { return m.sync }

// Tick decides anew whatever depends on the time, or on an order since the last decision.
func (m *Model) Tick(now time.Time) {
	for _, c := range m.clusters {
		c.tick(now)
	}
}

// Adopt takes over every cluster that a table already has, with the weights it has there.
func (m *Model) Adopt(now time.Time, table []ipvs.Service) {
	for _, c := range m.clusters {
		if hasMark(table, c.Mark()) {
			m.adopt(now, c, table)
		}
	}
}

func (m *Model) adopt(now time.Time, c *Cluster, table []ipvs.Service) {
	c.adopt(now, table)
	m.restore(c)
	r := c.report(now, event.ClusterAdopted, event.Info,
		"cluster adopted: it runs in the kernel already and keeps its weights until readings arrive")
	r.Nodes = c.tally()
	m.emit(r)
}

// restore keeps the services of a cluster that runs again.
func (m *Model) restore(c *Cluster) {
	for _, mark := range c.Marks() {
		delete(m.retired, mark)
	}
}

// Desired returns the services as the kernel should have them, sorted by key for each cluster, and the marks that lb owns: it may remove other
// services of these. marked reports whether the marking rules are right, so that no packet gets a mark that a reload has removed.
func (m *Model) Desired(now time.Time, table []ipvs.Service, marked bool) ([]ipvs.Service, map[ipvs.Mark]bool) {
	var desired []ipvs.Service
	owned := map[ipvs.Mark]bool{}
	for mark, r := range m.retired {
		owned[mark] = !r.afterMarks || marked
	}
	for _, c := range m.clusters {
		if c.running {
			for _, mark := range c.Marks() {
				owned[mark] = true
			}
			desired = append(desired, c.services(now, table)...)
			continue
		}
		m.checkUnmanaged(now, c, hasMark(table, c.Mark()) && !owned[c.Mark()])
	}
	return desired, owned
}

// checkUnmanaged reports, once, that the kernel has the mark of a cluster that lb did not start.
func (m *Model) checkUnmanaged(now time.Time, c *Cluster, unmanaged bool) {
	if unmanaged && !c.unmanaged {
		m.emit(c.report(now, event.ClusterStrange, event.Warn, "the kernel has the mark of a cluster that lb did not start; lb leaves it alone: "+
			"adopt it with `lb ctl cluster start "+c.cfg.Name+"` or remove it with `lb ctl cluster stop "+c.cfg.Name+"`"))
	}
	c.unmanaged = unmanaged
}

// Forget ends the retirement of marks that a table no longer has.
func (m *Model) Forget(table []ipvs.Service) {
	maps.DeleteFunc(m.retired, func(mark ipvs.Mark, _ retirement) bool { return !hasMark(table, mark) })
}

// MarkRules returns the marking rules of all clusters, running or not: from each port of a virtual IP to the cluster's mark and, for packets that
// arrive from other data centres, to the mark of its relay.
func (m *Model) MarkRules() []mark.Rule {
	var rules []mark.Rule
	for _, c := range m.clusters {
		rules = append(rules, markRules(c.cfg)...)
	}
	return rules
}

// Marks returns the marks of all clusters.
func (m *Model) Marks() []ipvs.Mark {
	var marks []ipvs.Mark
	for _, c := range m.clusters {
		marks = append(marks, c.Marks()...)
	}
	return marks
}

// emit keeps a report for TakeReports.
func (m *Model) emit(r event.Report) { m.reports = append(m.reports, r) }

// TakeReports returns what has happened since the last call, in order.
func (m *Model) TakeReports() []event.Report {
	reports := m.reports
	m.reports = nil
	return reports
}

func hasMark(table []ipvs.Service, m ipvs.Mark) bool {
	return slices.ContainsFunc(table, func(s ipvs.Service) bool { return s.Mark == m })
}

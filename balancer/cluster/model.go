// Package cluster is the model of the balancer: what it knows about clusters and their nodes, and the table that follows from it.
// It does no input or output, takes no locks and reads no clock: readings, orders and the time are arguments.
package cluster

import (
	"cmp"
	"maps"
	"net/netip"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/machine"
	"github.com/braintree/lb/netx/mark"
)

// idleInterval is the time between two reconciles while the configuration has no cluster.
const idleInterval = 2 * time.Second

// Model is the state of all clusters. One goroutine uses it at a time.
type Model struct {
	reports
	clusters     []*Cluster // by name
	retired      retirements
	location     string     // of this data centre; "": not configured
	relayAddress netip.Addr // where other data centres send packets; invalid: not configured
	sync         config.Sync
	timeouts     config.Timeouts
	features     ipvs.Features
	machine      *machine.State // nil: not known
	drains       bool           // SetDrains has set drains that a later call has to clear
}

// New returns the model of a configuration. Nothing runs and nothing is known yet.
func New(cfg *config.Config) *Model {
	m := &Model{retired: retirements{}}
	m.Reconfigure(time.Time{}, m.Match(cfg))
	return m
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
		if c.running && c.hasMark(mark) {
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

// Tick decides anew whatever depends on the time, or on an order since the last decision.
func (m *Model) Tick(now time.Time) {
	for _, c := range m.clusters {
		c.tick(now)
	}
}

// Wanted is what a model wants of the kernel's resources beside the table.
type Wanted struct{ model *Model }

// Wanted returns what the model wants of the kernel's resources beside the table.
func (m *Model) Wanted() Wanted { return Wanted{m} }

// MarkRules are the marking rules of all clusters, running or not.
func (w Wanted) MarkRules() []mark.Rule {
	var rules []mark.Rule
	for _, c := range w.model.clusters {
		rules = append(rules, c.markRules()...)
	}
	return rules
}

// Sync is the connection synchronization that the configuration wants.
func (w Wanted) Sync() config.Sync { return w.model.sync }

// Timeouts are the timeouts of connections that the configuration wants; 0: as the kernel has them.
func (w Wanted) Timeouts() config.Timeouts { return w.model.timeouts }

// Features are the features of IPVS that the configuration uses, and on which the kernel's settings depend.
func (w Wanted) Features() ipvs.Features { return w.model.features }

// Forget ends the retirement of marks that a table no longer has.
func (m *Model) Forget(table []ipvs.Service) {
	maps.DeleteFunc(m.retired, func(mark ipvs.Mark, _ retirement) bool { return !hasMark(table, mark) })
}

// retirement is a mark whose service is to be removed. lb owns the mark until the service is gone.
type retirement struct {
	cause      string
	afterMarks bool // packets may still get this mark: wait until the marking rules are right
}

// retirements are the retired marks.
type retirements map[ipvs.Mark]retirement

// owned returns the retired marks, with true for those whose services may be removed. marked reports whether the marking rules are right.
func (r retirements) owned(marked bool) map[ipvs.Mark]bool {
	owned := map[ipvs.Mark]bool{}
	for mark, retired := range r {
		owned[mark] = !retired.afterMarks || marked
	}
	return owned
}

// restore keeps the services of marks that are in use again.
func (r retirements) restore(marks []ipvs.Mark) {
	for _, mark := range marks {
		delete(r, mark)
	}
}

// reports are what has happened and is not reported yet.
type reports struct{ pending []event.Report }

// emit keeps reports for TakeReports.
func (r *reports) emit(news ...event.Report) { r.pending = append(r.pending, news...) }

// TakeReports returns what has happened since the last call, in order.
func (r *reports) TakeReports() []event.Report {
	taken := r.pending
	r.pending = nil
	return taken
}

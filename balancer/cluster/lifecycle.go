package cluster

import (
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/ipvs"
)

// start is a start that waits for the first readings, so that the kernel gets true weights at once.
type start struct {
	deadline time.Time
	retry    bool // the kernel could not be read: only the deadline counts
}

// Lifecycle adopts, starts and stops the clusters of a model.
type Lifecycle struct{ *Model }

// Lifecycle returns the part of the model that adopts, starts and stops clusters.
func (m *Model) Lifecycle() Lifecycle { return Lifecycle{m} }

// Starting reports whether a start is in progress.
func (c *Cluster) Starting() bool { return c.start != nil }

// Adopt takes over every cluster that a table already has, with the weights it has there.
func (l Lifecycle) Adopt(now time.Time, table []ipvs.Service) {
	for _, c := range l.clusters {
		if hasMark(table, c.Mark()) {
			l.adopt(now, c, table)
		}
	}
}

func (l Lifecycle) adopt(now time.Time, c *Cluster, table []ipvs.Service) {
	c.adopt(now, table)
	c.hold(l.machine)
	l.retired.restore(c.Marks())
	r := c.report(now, event.ClusterAdopted, event.Info,
		"cluster adopted: it was already in the kernel, and keeps its weights until readings arrive")
	r.Nodes = c.tally()
	l.emit(r)
}

// Begin begins to start a stopped cluster: it runs once its nodes have been polled, or the configuration's check_timeout has passed.
func (l Lifecycle) Begin(now time.Time, c *Cluster, cause string) {
	r := c.report(now, event.ClusterStarting, event.Info, "cluster starts")
	r.Cause = cause
	l.emit(r)
	c.start = &start{deadline: now.Add(c.cfg.CheckTimeout)}
}

// Autostart begins to start the stopped clusters that the configuration wants running.
func (l Lifecycle) Autostart(now time.Time) {
	for _, c := range l.clusters {
		l.autostart(now, c)
	}
}

func (l Lifecycle) autostart(now time.Time, c *Cluster) {
	if c.cfg.Autostart && !c.running {
		l.Begin(now, c, "autostart")
	}
}

// InProgress returns the clusters whose start is in progress.
func (l Lifecycle) InProgress() []*Cluster {
	var starting []*Cluster
	for _, c := range l.clusters {
		if c.start != nil {
			starting = append(starting, c)
		}
	}
	return starting
}

// NextDeadline is the earliest deadline of the starts in progress; limit if none is earlier.
func (l Lifecycle) NextDeadline(limit time.Time) time.Time {
	for _, c := range l.clusters {
		if c.start != nil && c.start.deadline.Before(limit) {
			limit = c.start.deadline
		}
	}
	return limit
}

// Ready returns the starting clusters that have the readings they wait for, or have waited long enough.
func (l Lifecycle) Ready(now time.Time) []*Cluster {
	var ready []*Cluster
	for _, c := range l.clusters {
		if c.start != nil && (c.nodes.known() && !c.start.retry || !now.Before(c.start.deadline)) {
			ready = append(ready, c)
		}
	}
	return ready
}

// Expire lets every start in progress end with the readings there are.
func (l Lifecycle) Expire() {
	for _, c := range l.InProgress() {
		*c.start = start{}
	}
}

// Postpone lets a start wait until a deadline: the kernel could not be read.
func (l Lifecycle) Postpone(c *Cluster, deadline time.Time) {
	*c.start = start{deadline: deadline, retry: true}
}

// Run lets a cluster run from now on, unless it does already.
func (l Lifecycle) Run(now time.Time, c *Cluster) {
	if c.running {
		return
	}
	c.running, c.unmanaged = true, false
	c.hold(l.machine)
	l.retired.restore(c.Marks())
	c.tick(now)
	c.decideCluster(now) // with the cluster running
}

// End ends a start: the cluster runs. rejected is what the kernel rejected about it.
func (l Lifecycle) End(now time.Time, c *Cluster, rejected string) {
	r := c.report(now, event.ClusterStarted, event.Info, "cluster runs")
	r.Err, r.Nodes = rejected, c.tally()
	l.emit(r)
	c.start = nil
}

// Stop stops a cluster and retires its marks.
func (l Lifecycle) Stop(now time.Time, c *Cluster, who string) {
	r := c.report(now, event.ClusterStopped, event.Info, "cluster stops")
	r.Cause = "requested by " + who
	l.emit(r)
	c.running, c.start, c.leaving.since, c.held = false, nil, nil, nil
	c.decideCluster(now)
	for _, mark := range c.Marks() {
		l.retired[mark] = retirement{cause: "stopped by " + who}
	}
}

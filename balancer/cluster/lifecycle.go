package cluster

import (
	"time"

	"github.com/braintree/lb/balancer/event"
)

// Starting reports whether a start is in progress.
func (c *Cluster) Starting() bool { return c.start != nil }

// BeginStart begins to start a stopped cluster: it runs once its nodes have been polled, or the configuration's check_timeout has passed.
func (m *Model) BeginStart(now time.Time, c *Cluster, cause string) {
	r := c.report(now, event.ClusterStarting, event.Info, "cluster starts")
	r.Cause = cause
	m.emit(r)
	c.start = &start{deadline: now.Add(c.cfg.CheckTimeout)}
}

// Autostart begins to start the clusters that the configuration wants running.
func (m *Model) Autostart(now time.Time) {
	for _, c := range m.clusters {
		m.autostart(now, c)
	}
}

func (m *Model) autostart(now time.Time, c *Cluster) {
	if c.cfg.Autostart && !c.running {
		m.BeginStart(now, c, "autostart")
	}
}

// NextDeadline is the earliest deadline of the starts in progress; limit if none is earlier.
func (m *Model) NextDeadline(limit time.Time) time.Time {
	for _, c := range m.clusters {
		if c.start != nil && c.start.deadline.Before(limit) {
			limit = c.start.deadline
		}
	}
	return limit
}

// Starting reports whether any start is in progress.
func (m *Model) Starting() bool {
	for _, c := range m.clusters {
		if c.start != nil {
			return true
		}
	}
	return false
}

// Ready returns the starting clusters that have the readings they wait for, or have waited long enough.
func (m *Model) Ready(now time.Time) []*Cluster {
	var ready []*Cluster
	for _, c := range m.clusters {
		if c.start != nil && (c.known() && !c.start.retry || !now.Before(c.start.deadline)) {
			ready = append(ready, c)
		}
	}
	return ready
}

// known reports whether every node has been polled at least once.
func (c *Cluster) known() bool {
	for _, n := range c.nodes {
		if !n.state.HasReading {
			return false
		}
	}
	return true
}

// Run lets a cluster run from now on, unless it does already.
func (m *Model) Run(now time.Time, c *Cluster) {
	if c.running {
		return
	}
	c.running, c.unmanaged = true, false
	m.restore(c)
	c.tick(now)
	c.decideCluster(now) // with the cluster running
}

// PostponeStart lets a start wait until a deadline: the kernel could not be read.
func (c *Cluster) PostponeStart(deadline time.Time) { c.start.deadline, c.start.retry = deadline, true }

// EndStart ends a start: the cluster runs. rejected is what the kernel rejected about it.
func (m *Model) EndStart(now time.Time, c *Cluster, rejected string) {
	r := c.report(now, event.ClusterStarted, event.Info, "cluster runs")
	r.Err, r.Nodes = rejected, c.tally()
	m.emit(r)
	c.start = nil
}

// HurryStarts lets every start in progress end with the readings there are, and returns the starting clusters.
func (m *Model) HurryStarts() []*Cluster {
	var starting []*Cluster
	for _, c := range m.clusters {
		if c.start != nil {
			c.start.deadline, c.start.retry = time.Time{}, false
			starting = append(starting, c)
		}
	}
	return starting
}

// Stop stops a cluster and retires its marks.
func (m *Model) Stop(now time.Time, c *Cluster, who string) {
	r := c.report(now, event.ClusterStopped, event.Info, "cluster stops")
	r.Cause = "asked by " + who
	m.emit(r)
	c.running, c.start, c.leaving = false, nil, nil
	c.decideCluster(now)
	for _, mark := range c.Marks() {
		m.retired[mark] = retirement{cause: "stopped by " + who}
	}
}

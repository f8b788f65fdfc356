package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
)

// Drain puts a node to weight 0 until the drain is taken back or ends by itself, and returns what is drained when the kernel has been
// told. The drain is on the disk by then. Of several clusters all are drained or, with an error, none.
func (e *engine) Drain(ctx context.Context, o api.DrainOrder) ([]drain.Drain, error) {
	e.draining.Lock()
	defer e.draining.Unlock()
	var names []string
	var err error
	if busy := e.do(ctx, func(context.Context) { names, err = e.judgeDrain(o) }); busy != nil {
		return nil, busy
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var done []drain.Drain
	for _, name := range names {
		d := drain.Drain{Cluster: name, Node: o.Node, Reason: o.Reason, Who: o.Who, At: now}
		if o.For > 0 {
			d.Expires = now.Add(o.For)
		}
		done = append(done, d)
	}
	replaced, err := e.drains.PutAll(done)
	if err != nil {
		return nil, err
	}
	for _, d := range replaced {
		if !d.Expired(now) {
			e.tellDrain(event.DrainEnded, "the drain before ends", d, d.Describe())
		}
	}
	var unrecorded []error
	for _, d := range done {
		e.tellDrain(event.DrainBegun, "node drained", d, d.Describe(), slog.String("peer", o.Peer), slog.Bool("force", o.Force))
		unrecorded = append(unrecorded, e.record(audit.Drained, d, o))
	}
	return done, errors.Join(e.do(ctx, e.cycle), api.Unrecorded(unrecorded))
}

// judgeDrain runs in the owner. It names the clusters in which the node is to be drained.
func (e *engine) judgeDrain(o api.DrainOrder) ([]string, error) {
	in := e.clusters
	if o.Cluster != "" {
		c, err := e.find(o.Cluster)
		if err != nil {
			return nil, err
		}
		in = []*cluster{c}
	}
	var names, nodes []string
	var errs []error
	for _, c := range in {
		for _, n := range c.nodes {
			nodes = append(nodes, n.cfg.Address.String())
		}
		n := c.node(o.Node)
		if n == nil {
			continue
		}
		names = append(names, c.cfg.Name)
		if left := e.healthyWithout(c, n); !o.Force && left < c.cfg.MinHealthy && e.countsOn(c, n) {
			errs = append(errs, &api.TooFewError{Cluster: c.cfg.Name, Node: o.Node, Left: left, Least: c.cfg.MinHealthy})
		}
	}
	if len(names) == 0 {
		slices.Sort(nodes)
		return nil, &api.NoNodeError{Cluster: o.Cluster, Node: o.Node, Nodes: slices.Compact(nodes)}
	}
	return names, errors.Join(errs...)
}

// healthyWithout counts the nodes that carry traffic, or would, without one of them.
func (e *engine) healthyWithout(c *cluster, without *node) int {
	count := 0
	for _, n := range c.nodes {
		if n != without && n.own.weight > 0 && !e.isDrained(c, n) {
			count++
		}
	}
	return count
}

// countsOn tells whether the cluster loses a healthy node, or one that may be healthy, when this one is drained.
func (e *engine) countsOn(c *cluster, n *node) bool {
	return (n.own.weight > 0 || n.state.Phase == decide.Unknown) && !e.isDrained(c, n)
}

func (e *engine) isDrained(c *cluster, n *node) bool {
	_, drained := e.drains.Get(drain.Key{Cluster: c.cfg.Name, Node: n.cfg.Address}, time.Now())
	return drained
}

// Undrain ends the drains of a node, also of one that is in no config, and returns them when the kernel has been told.
func (e *engine) Undrain(ctx context.Context, o api.DrainOrder) ([]drain.Drain, error) {
	e.draining.Lock()
	defer e.draining.Unlock()
	now := time.Now()
	var done []drain.Drain
	var unrecorded []error
	for _, d := range e.drains.All() {
		if d.Node != o.Node || o.Cluster != "" && d.Cluster != o.Cluster || d.Expired(now) {
			continue
		}
		d, existed, err := e.drains.Delete(d.Key())
		if err != nil {
			return done, err
		}
		if existed {
			e.tellDrain(event.DrainEnded, "node no longer drained", d, strings.TrimSuffix("asked by "+o.Who+": "+o.Reason, ": "), slog.String("peer", o.Peer))
			unrecorded = append(unrecorded, e.record(audit.Undrained, d, o))
			done = append(done, d)
		}
	}
	if len(done) > 0 {
		return done, errors.Join(e.do(ctx, e.cycle), api.Unrecorded(unrecorded))
	}
	err := error(&api.NotDrainedError{DrainOrder: o})
	busy := e.do(ctx, func(context.Context) {
		o.Force = true
		if _, unknown := e.judgeDrain(o); unknown != nil {
			err = unknown
		}
	})
	return nil, errors.Join(busy, err)
}

// record writes a change to the audit log. One that cannot be recorded is made all the same: a node that must go out of rotation
// goes out also when the disk is full.
func (e *engine) record(change audit.Change, d drain.Drain, o api.DrainOrder) error {
	entry := audit.Entry{
		Time: time.Now(), Change: change, Cluster: d.Cluster, Node: d.Node.String(), Kind: "drain", Reason: o.Reason, Who: o.Who, Peer: o.Peer,
	}
	if !d.Expires.IsZero() {
		entry.Expires = d.Expires.UTC()
	}
	if change != audit.Drained {
		entry.SetAt = d.At.UTC()
	}
	err := e.audit.Append(entry)
	if err != nil {
		e.log.Error("a change is missing from the audit log", "cluster", d.Cluster, "node", d.Node, "cause", d.Describe(), "err", err)
	}
	return err
}

// applyDrains has each node know whether it is drained, and ends the drains whose time is over, which it tells before what comes of that. It
// runs in the owner and waits for no disk.
func (e *engine) applyDrains(now time.Time) {
	drained, over := map[drain.Key]*drain.Drain{}, map[drain.Key]time.Time{}
	for _, d := range e.drains.All() {
		if !d.Expired(now) {
			drained[d.Key()] = &d
			continue
		}
		over[d.Key()] = d.Expires
		if !e.over[d.Key()].Equal(d.Expires) { // else its file is still there
			e.tellDrain(event.DrainExpired, "a drain has ended by itself", d, d.Describe())
		}
	}
	if e.over = over; len(over) > 0 && e.ending.CompareAndSwap(false, true) {
		e.watchers.Go(e.endDrains)
	}
	for _, c := range e.clusters {
		for _, n := range c.nodes {
			n.order, n.drain = drained[drain.Key{Cluster: c.cfg.Name, Node: n.cfg.Address}], ""
			if n.order != nil {
				n.drain = n.order.Describe()
			}
		}
	}
}

// endDrains takes away the files of drains that have ended by themselves, and records that.
func (e *engine) endDrains() {
	defer e.ending.Store(false)
	ended, err := e.drains.Expire(time.Now())
	for _, d := range ended {
		_ = e.record(audit.Expired, d, api.DrainOrder{Reason: d.Reason, Who: d.Who}) // what fails is logged; there is nobody to tell
	}
	if err != nil {
		e.log.Error("a drain has ended, but its file is still there", "err", err)
	}
}

// tellDrain tells what has become of a drain. Its cluster may have left the config.
func (e *engine) tellDrain(kind event.Kind, text string, d drain.Drain, cause string, further ...slog.Attr) {
	ev := event.Now(kind, text)
	ev.Cluster, ev.Node, ev.Cause = d.Cluster, d.Node.String(), cause
	e.tell(slog.LevelInfo, ev, further...)
}

// openDrains reads what operators drained before this process.
func (e *engine) openDrains(dir string) error {
	drains, bad, err := drain.Open(dir)
	if err != nil {
		return err
	}
	for _, err := range bad {
		e.log.Error("a file in the balancer's data_dir cannot be used", "err", err)
	}
	e.drains, e.audit = drains, audit.New(dir)
	return nil
}

// moveDrains lets drains follow the clusters that a reload renames: all of them or, with an error, none.
func (e *engine) moveDrains(next []*cluster, configs []config.Cluster) error {
	names, said := map[string]string{}, []string{}
	for i, c := range next {
		if was := c.cfg.Name; was != "" && was != configs[i].Name {
			names[was] = configs[i].Name
			said = append(said, was+" to "+configs[i].Name)
		}
	}
	if err := e.drains.Rename(names); err != nil {
		return fmt.Errorf("let the drains of renamed clusters (%s) follow them: %w", strings.Join(said, ", "), err)
	}
	return nil
}

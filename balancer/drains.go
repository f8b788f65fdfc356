package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/netx/audit"
)

// drains are the nodes that operators drain, on disk, with the audit log of who did.
type drains struct {
	store  *drain.Store
	audit  *audit.Log
	report *reconcile.Reporter

	changing sync.Mutex              // held for a whole order, so that two do not both drain the last healthy node
	expired  map[drain.Key]time.Time // drains that have expired but still have a file, with their end; current uses it
	removing atomic.Bool             // removeExpired is running
	running  sync.WaitGroup
}

// open reads the drains of earlier processes.
func (d *drains) open(dir string) error {
	store, bad, err := drain.Open(dir)
	if err != nil {
		return err
	}
	for _, err := range bad {
		d.report.Log.Error("cannot use a file in the balancer's data_dir", "err", err)
	}
	d.store, d.audit = store, audit.New(dir)
	return nil
}

// current returns the drains that hold, for the model, and ends those that have expired. The goroutine that owns the model calls
// it; it does not wait for the disk.
func (d *drains) current(now time.Time) map[cluster.NodeKey]cluster.Drain {
	expired := map[drain.Key]time.Time{}
	for _, o := range d.store.All() {
		if !o.Expired(now) {
			continue
		}
		expired[o.Key()] = o.Expires
		if !d.expired[o.Key()].Equal(o.Expires) { // otherwise reported already, and its file still exists
			d.emit(event.DrainExpired, "drain expired", o, o.Describe())
		}
	}
	if d.expired = expired; len(expired) > 0 && d.removing.CompareAndSwap(false, true) {
		d.running.Go(d.removeExpired)
	}
	return held(now, d.store.All())
}

// held returns the drains that have not expired, for the model.
func held(now time.Time, all []drain.Drain) map[cluster.NodeKey]cluster.Drain {
	drains := map[cluster.NodeKey]cluster.Drain{}
	for _, o := range all {
		if !o.Expired(now) {
			drains[cluster.NodeKey{Cluster: o.Cluster, Node: o.Node}] = cluster.Drain{Cause: o.Describe(), Status: drainStatus(o)}
		}
	}
	return drains
}

// removeExpired removes the files of expired drains and records that.
func (d *drains) removeExpired() {
	defer d.removing.Store(false)
	ended, err := d.store.Expire(time.Now())
	for _, o := range ended {
		_ = d.record(audit.Expired, o, api.DrainOrder{Reason: o.Reason, Who: o.Who}) // an error is logged; there is nobody to answer
	}
	if err != nil {
		d.report.Log.Error("cannot remove the file of an expired drain", "err", err)
	}
}

func (d *drains) wait() { d.running.Wait() }

// isDrained reports whether a node is drained now.
func (d *drains) isDrained(k cluster.NodeKey) bool {
	_, drained := d.store.Get(drain.Key{Cluster: k.Cluster, Node: k.Node}, time.Now())
	return drained
}

// rename lets drains follow renamed clusters: all of them or, with an error, none.
func (d *drains) rename(names map[string]string) error {
	if err := d.store.Rename(names); err != nil {
		var pairs []string
		for was, is := range names {
			pairs = append(pairs, was+" to "+is)
		}
		slices.Sort(pairs)
		return fmt.Errorf("move the drains of renamed clusters (%s): %w", strings.Join(pairs, ", "), err)
	}
	return nil
}

// record writes a change to the audit log. A change that cannot be recorded takes effect all the same: a node that must leave
// rotation leaves it even if the disk is full.
func (d *drains) record(change audit.Change, o drain.Drain, order api.DrainOrder) error {
	entry := audit.Entry{
		Time: time.Now(), Change: change, Cluster: o.Cluster, Node: o.Node.String(), Kind: "drain",
		Reason: order.Reason, Who: order.Who, Peer: order.Peer,
	}
	if !o.Expires.IsZero() {
		entry.Expires = o.Expires.UTC()
	}
	if change != audit.Drained {
		entry.SetAt = o.At.UTC()
	}
	err := d.audit.Append(entry)
	if err != nil {
		d.report.Log.Error("a change is missing from the audit log",
			"cluster", o.Cluster, "node", o.Node, "cause", o.Describe(), "err", err)
	}
	return err
}

// emit reports what has become of a drain. Its cluster may have left the configuration.
func (d *drains) emit(kind event.Kind, text string, o drain.Drain, cause string, further ...slog.Attr) {
	report := event.Report{Event: event.Now(kind, text), Level: event.Info}
	report.Cluster, report.Node, report.Cause = o.Cluster, o.Node.String(), cause
	d.report.Emit(report, further...)
}

// Drain puts a node to weight 0 until the drain is resumed or expires. It returns when the drain is on disk and the kernel has the
// weight. Of several clusters all are drained or, with an error, none.
func (e *engine) Drain(ctx context.Context, o api.DrainOrder) ([]api.DrainReport, error) {
	e.drains.changing.Lock()
	defer e.drains.changing.Unlock()
	var names []string
	var err error
	if busy := e.do(ctx, func(context.Context) { names, err = e.rec.Model.CheckDrain(o, e.drains.isDrained) }); busy != nil {
		return nil, busy
	}
	if err != nil {
		return nil, err
	}
	done, err := e.drains.put(o, names)
	unrecorded := (*api.UnrecordedError)(nil)
	if err != nil && !errors.As(err, &unrecorded) {
		return nil, err
	}
	return drained{e}.takeEffect(ctx, done, err)
}

// drained is an engine whose drains have changed on disk.
type drained struct{ *engine }

// takeEffect takes changed drains to the kernel. It joins err, which the change ended with, and an *api.IncompleteError about nodes whose
// weight the kernel does not have.
func (e drained) takeEffect(ctx context.Context, done []drain.Drain, err error) ([]api.DrainReport, error) {
	var failed []error
	if unrecorded := (*api.UnrecordedError)(nil); err != nil && !errors.As(err, &unrecorded) {
		failed, err = append(failed, err), nil // after others of the order were changed
	}
	busy := e.do(ctx, func(ctx context.Context) {
		e.reconcile(ctx, reconcile.Order)
		for _, d := range done {
			failed = append(failed, e.rec.NodeFailure(d.Cluster, d.Node))
		}
	})
	return e.reports(ctx, done), errors.Join(err, api.Incomplete("the change is on disk", errors.Join(append(failed, busy)...)))
}

// put keeps an order's drains on disk, and reports and records them.
func (d *drains) put(o api.DrainOrder, clusters []string) ([]drain.Drain, error) {
	now := time.Now()
	var done []drain.Drain
	for _, name := range clusters {
		new := drain.Drain{Cluster: name, Node: o.Node, Reason: o.Reason, Who: o.Who, At: now}
		if o.For > 0 {
			new.Expires = now.Add(o.For)
		}
		done = append(done, new)
	}
	replaced, err := d.store.PutAll(done)
	if errors.Is(err, drain.ErrInvalid) {
		return nil, &api.InvalidError{Err: err}
	}
	if err != nil {
		return nil, err
	}
	for _, old := range replaced {
		if !old.Expired(now) {
			d.emit(event.DrainEnded, "drain replaced", old, old.Describe())
		}
	}
	var unrecorded []error
	for _, new := range done {
		d.emit(event.DrainBegun, "node drained", new, new.Describe(), slog.String("peer", o.Peer), slog.Bool("force", o.Force))
		unrecorded = append(unrecorded, d.record(audit.Drained, new, o))
	}
	return done, api.Unrecorded(unrecorded)
}

// Resume ends the drains of a node, even of one that is in no configuration, and returns them when the kernel has the weight.
func (e *engine) Resume(ctx context.Context, o api.DrainOrder) ([]api.DrainReport, error) {
	e.drains.changing.Lock()
	defer e.drains.changing.Unlock()
	done, err := e.drains.remove(o)
	if len(done) > 0 {
		return drained{e}.takeEffect(ctx, done, err)
	}
	if err != nil {
		return nil, err
	}
	err = &api.NotDrainedError{DrainOrder: o}
	busy := e.do(ctx, func(context.Context) {
		o.Force = true
		if _, unknown := e.rec.Model.CheckDrain(o, e.drains.isDrained); unknown != nil {
			err = unknown
		}
	})
	return nil, errors.Join(busy, err)
}

// remove ends the drains that an order names, and reports and records that.
func (d *drains) remove(o api.DrainOrder) ([]drain.Drain, error) {
	now := time.Now()
	var done []drain.Drain
	var unrecorded []error
	for _, old := range d.store.All() {
		if old.Node != o.Node || o.Cluster != "" && old.Cluster != o.Cluster || old.Expired(now) {
			continue
		}
		old, existed, err := d.store.Delete(old.Key())
		if err != nil {
			return done, err
		}
		if existed {
			cause := strings.TrimSuffix("requested by "+o.Who+": "+o.Reason, ": ")
			d.emit(event.DrainEnded, "node resumed", old, cause, slog.String("peer", o.Peer))
			unrecorded = append(unrecorded, d.record(audit.Undrained, old, o))
			done = append(done, old)
		}
	}
	return done, api.Unrecorded(unrecorded)
}

// Drains returns all drains, by cluster and address.
func (e *engine) Drains(ctx context.Context) []api.DrainReport {
	return e.reports(ctx, e.drains.store.All())
}

// reports combines drains with what is known about their nodes.
func (e *engine) reports(ctx context.Context, all []drain.Drain) []api.DrainReport {
	s := e.Status(ctx)
	list := make([]api.DrainReport, 0, len(all))
	for _, d := range all {
		r := api.DrainReport{Cluster: d.Cluster, Node: d.Node.String(), DrainStatus: drainStatus(d), Stale: true}
		for _, c := range s.Clusters {
			i := slices.IndexFunc(c.Nodes, func(n api.NodeStatus) bool { return n.Address == r.Node && n.State != api.StateLeaving })
			if c.Name == d.Cluster && i >= 0 {
				r.Stale, r.ActiveConns = false, c.Nodes[i].ActiveConns
			}
		}
		list = append(list, r)
	}
	return list
}

func drainStatus(d drain.Drain) api.DrainStatus {
	s := api.DrainStatus{Reason: d.Reason, Who: d.Who, At: d.At.UTC(), Expires: d.Expires}
	if !d.Expires.IsZero() {
		s.Expires = d.Expires.UTC()
	}
	return s
}

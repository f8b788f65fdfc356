// Package reconcile takes the model of the clusters to the kernel: adopt, decide, diff, apply, report. The daemon does so again and
// again; a preview does it once, on copies in memory.
package reconcile

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/netx/ipvs"
)

// Inputs are the inputs of a reconcile other than readings.
type Inputs interface {
	// Drains returns the drains that hold at a time.
	Drains(now time.Time) map[cluster.NodeKey]cluster.Drain
	// Overrides gives the model the up and down files of the clusters.
	Overrides(now time.Time, m *cluster.Model)
	// Pages serves the downpages of the running clusters and passes their addresses to the model.
	Pages(ctx context.Context, m *cluster.Model)
}

// Reconciler makes the kernel what the model wants. One goroutine uses it at a time.
type Reconciler struct {
	Model  *cluster.Model
	Kernel *kernel.Kernel
	Report *Reporter
	inputs Inputs

	adopted bool // the kernel's table has been read, and what runs there is adopted
}

// New returns a reconciler that has not touched the kernel.
func New(m *cluster.Model, k *kernel.Kernel, r *Reporter, in Inputs) *Reconciler {
	return &Reconciler{Model: m, Kernel: k, Report: r, inputs: in}
}

// Adopted reports whether the kernel's table has been read once, and what runs there is adopted.
func (r *Reconciler) Adopted() bool { return r.adopted }

// Reconcile makes the kernel what the model wants: it reads the table, decides, and applies the difference. Weights that readings
// have changed go first, before the table is read, because reading it takes longer than all else from a reading to the kernel. What
// fails is reported, and tried again by the next reconcile. It reports whether anything in the kernel changed or failed.
func (r *Reconciler) Reconcile(ctx context.Context, t Trigger) (news bool) {
	work, cancel := kernel.Context(ctx)
	defer cancel()
	begun := time.Now()
	if triggerRules[t].marks == only {
		return r.reconcileMarks(work, begun)
	}
	defer func() {
		if t != Reading {
			r.Report.network(begun, r.Model, r.Kernel.Settings) // readings change nothing about them
		}
		r.Report.Metrics.Duration.Observe(time.Since(begun).Seconds())
	}()
	changed, marks := r.Model.Changed(), triggerRules[t].marks
	if !changed {
		r.reconcileOthers(work, begun, marks)
	}
	r.Model.SetDrains(r.inputs.Drains(begun))
	if changed && r.Kernel.Table.Ready() {
		r.sendChanged(work, begun)
	}
	if !r.readTable(work) {
		return true
	}
	r.adopt(begun)
	r.inputs.Pages(ctx, r.Model)
	r.inputs.Overrides(begun, r.Model)
	r.Flush()
	r.Model.Tick(begun)
	news = r.makeDesired(work, begun)
	r.Model.Reconciled()
	if changed && r.marksDue(begun) {
		r.reconcileOthers(work, begun, marks) // a changed weight does not wait for them
	}
	if triggerRules[t].effect {
		r.checkEffect(work, begun)
	}
	return news
}

// sendChanged gives the kernel the weights that readings have changed, as edits of the table as last read. It may be wrong about
// what other programs did since; the read that follows finds that.
func (r *Reconciler) sendChanged(ctx context.Context, now time.Time) {
	edits, owned := r.Model.Edits(now, r.Kernel.Table.Services())
	if result := r.Kernel.Table.Edit(ctx, edits, owned); len(result.Done) > 0 {
		r.reportTable(result)
	}
}

// makeDesired makes the table the desired one, and reports whether anything changed or failed.
func (r *Reconciler) makeDesired(ctx context.Context, now time.Time) bool {
	table := r.Kernel.Table
	desired, owned := r.Model.Desired(now, table.Services(), r.Kernel.Marks.Right())
	p := table.Diff(desired, owned)
	r.reportTable(table.Apply(ctx, p, owned))
	r.reportRejected()
	table.Remember(ctx, len(p) > 0)
	r.Report.KernelError(string(kernel.IPVSTable), nil, table.Err())
	if table.Ready() {
		r.Model.Forget(table.Services())
	}
	return len(p) > 0
}

// readTable reads the kernel's table and reports whether that worked.
func (r *Reconciler) readTable(ctx context.Context) bool {
	ok := r.Kernel.Table.Read(ctx)
	r.Report.KernelError(string(kernel.IPVSTable), nil, r.Kernel.Table.Err())
	return ok
}

// adopt takes over, once, the clusters that the kernel already runs.
func (r *Reconciler) adopt(now time.Time) {
	if !r.adopted {
		r.adopted = true
		r.Model.Lifecycle().Adopt(now, r.Kernel.Table.Services())
		r.Flush()
	}
}

// reconcileOthers reconciles each resource beside the table: the marking rules as often as the trigger asks for, the rest each time.
func (r *Reconciler) reconcileOthers(ctx context.Context, now time.Time, marks marksPolicy) {
	k, wanted := r.Kernel, r.Model.Wanted()
	if marks == always || marks == whenDue && r.marksDue(now) {
		r.reconcileMarks(ctx, now)
	}
	changes := k.Sync.Reconcile(ctx, wanted.Sync())
	r.Report.resource(now, kernel.SyncDaemons, changes, k.Sync.Err())
	changes = k.Timeouts.Reconcile(ctx, wanted.Timeouts())
	r.Report.resource(now, kernel.ConnectionTimeouts, changes, k.Timeouts.Err())
	changes = k.Settings.Reconcile(now, wanted.Features())
	r.Report.resource(now, kernel.KernelSettings, changes, k.Settings.Err())
}

// reconcileMarks reconciles the marking rules, and reports whether anything changed or failed.
func (r *Reconciler) reconcileMarks(ctx context.Context, now time.Time) bool {
	marks := r.Kernel.Marks
	failed := marks.Err()
	changes := marks.Reconcile(ctx, now, r.Model.Wanted().MarkRules())
	r.Report.resource(now, kernel.MarkingRules, changes, marks.Err())
	return len(changes) > 0 || marks.Err() != failed
}

// marksDue reports whether the marking rules are due. The tolerance of half an interval is for timers.
func (r *Reconciler) marksDue(now time.Time) bool {
	interval := r.Model.Interval()
	return r.Kernel.Marks.Due(now, MarkIntervals*interval-interval/2)
}

// reportTable reports what has changed in the model, and what the kernel's table has been changed to.
func (r *Reconciler) reportTable(result kernel.Result) {
	at := time.Now()
	r.Model.ReportChanges(at)
	r.Flush()
	for _, op := range result.Done {
		r.Report.operation(r.Model.Describe(at, op), op.Kind, result.Drift[op.Object()])
	}
}

// reportRejected reports what the kernel rejects about each cluster, and about marks that are in no configuration any more.
func (r *Reconciler) reportRejected() {
	if r.Kernel.Table.Accepted() && len(r.Report.kernelErrors) == 0 {
		return // nearly always
	}
	var marks []ipvs.Mark
	for _, c := range r.Model.Clusters() {
		r.Report.KernelError("cluster "+c.Name(), c, r.Kernel.Table.Rejected(c.Marks()))
		marks = append(marks, c.Marks()...)
	}
	r.Report.KernelError("marks removed from the configuration", nil, r.Kernel.Table.RejectedExcept(marks))
}

// Flush reports what the model has noted.
func (r *Reconciler) Flush() {
	for _, report := range r.Model.TakeReports() {
		r.Report.Emit(report)
	}
}

// LastError is what keeps the kernel from forwarding for a cluster as it should, at present; "" for nothing.
func (r *Reconciler) LastError(c *cluster.Cluster) string {
	return join(r.Kernel.Table.Err(), r.Kernel.Table.Rejected(c.Marks()), r.Kernel.Marks.Err())
}

// join joins what is not empty.
func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), "; ")
}

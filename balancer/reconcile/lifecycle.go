package reconcile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/cluster"
)

// Start is a start that has ended, or has to go on because the kernel cannot be read.
type Start struct {
	Cluster *cluster.Cluster
	Err     error // what keeps the kernel from having the cluster as it should be
}

// CompleteStarts lets the clusters run that have the readings they wait for, or have waited long enough, and returns them.
func (r *Reconciler) CompleteStarts(ctx context.Context) []Start {
	now := time.Now()
	ready := r.Model.Lifecycle().Ready(now)
	if len(ready) == 0 {
		return nil
	}
	if !r.adopted {
		r.Reconcile(ctx, Order) // a cluster that the kernel runs already keeps its weights: read the table first
	}
	if r.adopted {
		for _, c := range ready {
			r.Model.Lifecycle().Run(now, c)
		}
	}
	r.Reconcile(ctx, Order)
	var starts []Start
	for _, c := range ready {
		starts = append(starts, Start{c, r.Failure(c, "start")})
		if !r.adopted {
			r.Model.Lifecycle().Postpone(c, time.Now().Add(r.Model.Interval()))
			continue
		}
		r.Model.Lifecycle().End(time.Now(), c, r.rejected(c))
	}
	r.Flush()
	return starts
}

// Failure is what keeps the kernel from having a cluster as an order wants it; nil for nothing.
func (r *Reconciler) Failure(c *cluster.Cluster, verb string) error {
	return r.failure(verb+" cluster "+c.Name(), join(r.Kernel.Table.Err(), r.rejected(c)))
}

// NodeFailure is what keeps the kernel from having a node's weight as an order wants it; nil for nothing, and for a cluster that does not
// run here.
func (r *Reconciler) NodeFailure(name string, node netip.Addr) error {
	for _, c := range r.Model.Clusters() {
		if c.Name() == name && c.Running() {
			table := r.Kernel.Table
			return r.failure(fmt.Sprintf("node %s of cluster %s", node, name), join(table.Err(), table.RejectedNode(c.Marks(), node)))
		}
	}
	return nil
}

// Failures lists what the kernel rejects at present.
func (r *Reconciler) Failures() []error {
	var all []error
	for _, what := range slices.Sorted(maps.Keys(r.Report.kernelErrors)) {
		all = append(all, r.failure(what, r.Report.kernelErrors[what]))
	}
	return all
}

func (r *Reconciler) failure(what, err string) error {
	if err == "" {
		return nil
	}
	return fmt.Errorf("%s: %s; lb retries every %s", what, err, r.Model.Interval())
}

// rejected is what the kernel rejected about a cluster: its services and, if its virtual IPs need any, the marking rules.
func (r *Reconciler) rejected(c *cluster.Cluster) string {
	marks := ""
	if len(c.Config().VIPs) > 0 {
		marks = r.Kernel.Marks.Err()
	}
	return join(r.Kernel.Table.Rejected(c.Marks()), marks)
}

// Stop removes a cluster from the kernel, even one that another program put there. It returns false if there is nothing to remove.
func (r *Reconciler) Stop(ctx context.Context, c *cluster.Cluster, who string) (bool, error) {
	if !c.Running() {
		r.readTable(ctx)
	}
	table := r.Kernel.Table
	if !c.Running() && !c.Starting() && table.Err() == "" && !table.Has(c.Marks()...) {
		return false, nil
	}
	r.Model.Lifecycle().Stop(time.Now(), c, who)
	r.Flush()
	r.Reconcile(ctx, Order)
	if table.Err() != "" || table.Has(c.Marks()...) {
		return false, fmt.Errorf("stop cluster %s: %s; lb retries every %s", c.Name(),
			join(table.Err(), table.Rejected(c.Marks())), r.Model.Interval())
	}
	return true, nil
}

// Reconfigure gives the model a new configuration. The kernel stays as it is until TakeOver.
func (r *Reconciler) Reconfigure(reload *cluster.Reload) {
	r.Model.Reconfigure(time.Now(), reload)
	r.Flush()
}

// TakeOver makes the kernel what the new configuration wants. Whatever a cluster is in the kernel goes on until its successor is
// there: first services appear and change in place, then the marks change, then the services disappear that no mark leads to any
// more.
func (r *Reconciler) TakeOver(ctx context.Context, reload *cluster.Reload) {
	now := time.Now()
	r.readTable(ctx)
	r.Model.Lifecycle().Join(now, reload, r.Kernel.Table.Services(), r.adopted)
	r.Flush()
	r.Reconcile(ctx, NewServices)
	r.Model.Lifecycle().Retire(reload)
	r.Reconcile(ctx, NewMarks)
}

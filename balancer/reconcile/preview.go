package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// Preview is a reconciler on a clone of the model and a copy of the kernel's tables. Its changes there are those that the original
// would make to the kernel.
type Preview struct {
	*Reconciler
	before kernel.State
	owners map[ipvs.Mark]string // clusters of the original, by their marks
}

// Preview reads the kernel and returns a preview with other inputs. The preview is independent of its original.
func (r *Reconciler) Preview(ctx context.Context, in Inputs) (*Preview, error) {
	state, err := r.Kernel.Read(ctx)
	if err != nil {
		return nil, err
	}
	k, err := r.Kernel.Copy(ctx, state)
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	p := &Preview{
		Reconciler: New(r.Model.Clone(), k, NewReporter(quiet, journal.Open("", quiet)), in),
		before:     state, owners: map[ipvs.Mark]string{},
	}
	p.adopted = r.adopted
	for _, c := range r.Model.Clusters() {
		for _, m := range c.Marks() {
			p.owners[m] = c.Name()
		}
	}
	return p, nil
}

// Next returns what the next reconcile would change.
func (p *Preview) Next(ctx context.Context) (api.Plan, error) {
	p.Reconcile(ctx, Timer)
	return p.Plan(ctx)
}

// Reload returns what a reload would change, even if the guard refuses it. Starting clusters do not wait for readings.
func (p *Preview) Reload(ctx context.Context, reload *cluster.Reload) (api.Plan, error) {
	guarded := reload.Guard()
	p.Reconfigure(reload)
	p.TakeOver(ctx, reload)
	starting := p.CompleteStartsNow(ctx)
	result, err := p.Plan(ctx)
	for _, c := range starting {
		result.Notes = append(result.Notes,
			fmt.Sprintf("cluster %s starts when its nodes have responded, or after %s", c.Name(), c.Config().CheckTimeout))
	}
	if guarded != nil {
		result.Refused, result.Forcible = guarded.Error(), true
	}
	return result, err
}

// Start returns what the start of a stopped cluster would change beyond what the preview has done so far.
func (p *Preview) Start(ctx context.Context, c *cluster.Cluster) (api.Plan, error) {
	state, err := p.Kernel.Read(ctx)
	if err != nil {
		return api.Plan{}, err
	}
	p.before = state
	p.Model.Lifecycle().Begin(time.Now(), c, "preview")
	p.CompleteStartsNow(ctx)
	return p.Plan(ctx)
}

// AdoptNow adopts what the kernel runs, before any reading.
func (p *Preview) AdoptNow() {
	p.Kernel.Table.Read(context.Background()) // of memory
	p.adopt(time.Now())
}

// CompleteStartsNow ends all starts with the readings there are, and returns their clusters.
func (p *Preview) CompleteStartsNow(ctx context.Context) []*cluster.Cluster {
	starting := p.Model.Lifecycle().InProgress()
	p.Model.Lifecycle().Expire()
	p.CompleteStarts(ctx)
	return starting
}

// Plan returns what the preview has changed so far.
func (p *Preview) Plan(ctx context.Context) (api.Plan, error) {
	result := api.NewPlan()
	after, err := p.Kernel.Read(ctx)
	if err != nil {
		return result, err
	}
	d := kernel.Compare(p.before, after)
	for _, op := range d.Services {
		if op.Kind != plan.DeleteService {
			result.Changes = append(result.Changes, p.change(op))
		}
	}
	for _, c := range d.Others {
		e := changeEvent(c)
		result.Changes = append(result.Changes, api.PlanChange{Kind: e.Kind, Change: e.Change, Mark: e.Mark})
	}
	for _, op := range d.Services {
		if op.Kind == plan.DeleteService {
			result.Changes = append(result.Changes, p.change(op))
		}
		result.Connections = append(result.Connections, p.affected(op)...)
	}
	result.Notes = append(result.Notes, p.Model.Unknown(added(d.Services))...)
	return result, nil
}

// added returns a function that reports whether a plan adds a node of a cluster.
func added(ops plan.Plan) func(*cluster.Cluster, *cluster.Node) bool {
	objects := map[plan.Object]bool{}
	for _, op := range ops {
		if op.Kind == plan.PutDestination && !op.Edit {
			objects[op.Object()] = true
		}
	}
	return func(c *cluster.Cluster, n *cluster.Node) bool {
		address := n.Config().Address
		return objects[plan.Object{Key: ipvs.Key{Mark: c.Mark(), Family: ipvs.FamilyOf(address)}, Node: netip.AddrPortFrom(address, 0)}]
	}
}

// change describes an operation as the event that it would cause.
func (p *Preview) change(op plan.Op) api.PlanChange {
	r := p.Model.Describe(time.Time{}, op)
	c := api.PlanChange{Kind: r.Kind, Change: r.Change, Cluster: r.Cluster, Mark: r.Mark, Node: r.Node, Cause: r.Cause}
	if c.Cluster == "" {
		c.Cluster = p.owners[op.Key.Mark]
	}
	return c
}

// affected returns the connections of what an operation takes out of rotation.
func (p *Preview) affected(op plan.Op) []api.Affected {
	if op.Kind == plan.PutService || op.Kind == plan.PutDestination && (op.Destination.Weight > 0 || op.Old.Weight == 0) {
		return nil
	}
	a := api.Affected{Mark: uint32(op.Key.Mark), Cluster: p.owners[op.Key.Mark], Fate: api.Break}
	if c := p.Model.Running(op.Key.Mark); c != nil {
		a.Cluster = c.Name()
		if op.Kind == plan.PutDestination {
			a.Fate = api.Continue
			if c.Leaves(&op.Destination) {
				a.Limit = c.Config().DrainTimeout.String()
			}
		}
	}
	at, _ := ipvs.Find(p.before.Services, op.Key)
	var all []api.Affected
	for _, d := range p.before.Services[at].Destinations {
		if op.Kind == plan.DeleteService || d.Address == op.Destination.Address && d.Port == op.Destination.Port {
			a.Node, a.ActiveConns, a.InactiveConns = plan.NodeName(d), d.ActiveConns, d.InactiveConns
			all = append(all, a)
		}
	}
	return all
}

package balancer

import (
	"context"
	"fmt"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/reconcile"
)

// outcome is the result of a start or a stop.
type outcome struct {
	changed bool
	err     error
}

// waitingStarts are the orders that wait for the start of a cluster. Each channel buffers one outcome.
type waitingStarts map[*cluster.Cluster][]chan outcome

// answer sends the outcome to the orders that wait for a cluster.
func (w waitingStarts) answer(c *cluster.Cluster, o outcome) {
	for _, waiting := range w[c] {
		waiting <- o
	}
	delete(w, c)
}

// abandon ends all orders when the daemon stops.
func (w waitingStarts) abandon() {
	for c := range w {
		w.answer(c, outcome{err: api.ErrStopping})
	}
}

// Start starts a cluster and returns when the kernel has it, with weights. It returns false if the cluster runs already.
func (e *engine) Start(ctx context.Context, name, who string) (bool, error) {
	answer := make(chan outcome, 1)
	if err := e.do(ctx, func(ctx context.Context) { e.beginStart(ctx, name, who, answer) }); err != nil {
		return false, err
	}
	select {
	case o := <-answer:
		return o.changed, o.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// beginStart begins a start, which ends once the first readings have arrived, or joins one in progress.
func (e *engine) beginStart(ctx context.Context, name, who string, answer chan outcome) {
	c, err := e.rec.Model.Find(name)
	if err != nil {
		answer <- outcome{err: err}
		return
	}
	if !e.rec.Adopted() && !c.Starting() {
		e.reconcile(ctx, reconcile.Order) // the kernel may run it already
	}
	if c.Running() {
		answer <- outcome{err: e.rec.Failure(c, "start")}
		return
	}
	if !c.Starting() {
		e.rec.Model.Lifecycle().Begin(time.Now(), c, "requested by "+who)
		e.rec.Flush()
	}
	e.waiting[c] = append(e.waiting[c], answer)
}

// completeStarts completes the starts that have their readings, and sends the outcome to their orders.
func (e *engine) completeStarts(ctx context.Context) {
	starts := e.rec.CompleteStarts(ctx)
	if len(starts) == 0 {
		return
	}
	e.reconciled()
	for _, s := range starts {
		e.waiting.answer(s.Cluster, outcome{changed: true, err: s.Err})
	}
}

// Stop removes a cluster from the kernel. It returns false if the kernel does not have it.
func (e *engine) Stop(ctx context.Context, name, who string) (bool, error) {
	var changed bool
	var err error
	if busy := e.do(ctx, func(ctx context.Context) { changed, err = e.stop(ctx, name, who) }); busy != nil {
		return false, busy
	}
	return changed, err
}

func (e *engine) stop(ctx context.Context, name, who string) (bool, error) {
	c, err := e.rec.Model.Find(name)
	if err != nil {
		return false, err
	}
	e.waiting.answer(c, outcome{err: fmt.Errorf("cluster %s was stopped while it started", name)})
	changed, err := e.rec.Stop(ctx, c, who)
	if changed || err != nil {
		e.reconciled()
	}
	return changed, err
}

package balancer

import (
	"context"
	"errors"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// Failure is an operation that the kernel refused.
type Failure struct {
	Op  plan.Op
	Err error
}

// Apply does what the plan lists, in its order. What the kernel refuses is returned and the rest goes on, but for the nodes of a
// service that could not be put there. Taking away what is gone already is no failure.
func Apply(ctx context.Context, table ipvs.Table, p plan.Plan) (done plan.Plan, failed []Failure) {
	missing := map[ipvs.Key]bool{}
	for _, op := range p {
		if op.Kind == plan.PutDestination && missing[op.Key] {
			continue
		}
		if err := applyOne(ctx, table, op); err != nil {
			failed = append(failed, Failure{op, err})
			missing[op.Key] = missing[op.Key] || op.Kind == plan.PutService && !op.Edit
			continue
		}
		done = append(done, op)
	}
	return done, failed
}

func applyOne(ctx context.Context, table ipvs.Table, op plan.Op) error {
	switch op.Kind {
	case plan.PutService:
		return table.PutService(ctx, op.Service)
	case plan.PutDestination:
		return table.PutDestination(ctx, op.Key, op.Destination)
	case plan.DeleteDestination:
		err := table.DeleteDestination(ctx, op.Key, op.Destination.Address, op.Destination.Port)
		if errors.Is(err, ipvs.ErrNoService) || errors.Is(err, ipvs.ErrNoDestination) {
			return nil
		}
		return err
	}
	if err := table.DeleteService(ctx, op.Key); err != nil && !errors.Is(err, ipvs.ErrNoService) {
		return err
	}
	return nil
}

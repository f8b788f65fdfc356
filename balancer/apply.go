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

// Apply does what the plan lists, in its order. What the kernel refuses is returned and the rest goes on. That the nodes of a
// service that could not be put there are not there either is no failure of its own, nor is taking away what is gone already.
func Apply(ctx context.Context, table ipvs.Table, p plan.Plan) (done plan.Plan, failed []Failure) {
	errs := table.Apply(ctx, p.Changes())
	missing := map[ipvs.Key]bool{}
	for i, op := range p {
		switch err := errs[i]; {
		case err == nil, op.Kind == plan.DeleteDestination && gone(err), op.Kind == plan.DeleteService && gone(err):
			done = append(done, op)
		case op.Kind == plan.PutDestination && missing[op.Key] && gone(err):
		default:
			failed = append(failed, Failure{op, err})
			missing[op.Key] = missing[op.Key] || op.Kind == plan.PutService && !op.Edit
		}
	}
	return done, failed
}

// gone tells whether the kernel refuses because it does not have what the change is about.
func gone(err error) bool {
	return errors.Is(err, ipvs.ErrNoService) || errors.Is(err, ipvs.ErrNoDestination)
}

package kernel

import (
	"context"
	"errors"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// failure is an operation that the kernel rejected.
type failure struct {
	op  plan.Op
	err error
}

// apply carries out a plan in its order. It continues after rejected operations and returns them. Two errors are expected and are
// not failures: a node whose service could not be added, and the removal of something that is gone.
func apply(ctx context.Context, table ipvs.Table, p plan.Plan) (done plan.Plan, failed []failure) {
	errs := table.Apply(ctx, p.Changes())
	missing := map[ipvs.Key]bool{} // services that could not be added
	for i, op := range p {
		switch err := errs[i]; {
		case err == nil, op.Kind == plan.DeleteDestination && gone(err), op.Kind == plan.DeleteService && gone(err):
			done = append(done, op)
		case op.Kind == plan.PutDestination && missing[op.Key] && gone(err):
		default:
			failed = append(failed, failure{op, err})
			missing[op.Key] = missing[op.Key] || op.Kind == plan.PutService && !op.Edit
		}
	}
	return done, failed
}

// gone reports whether the kernel rejected a change because its object does not exist.
func gone(err error) bool {
	return errors.Is(err, ipvs.ErrNoService) || errors.Is(err, ipvs.ErrNoDestination)
}

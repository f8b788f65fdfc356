package doctor

import (
	"context"
	"errors"

	"github.com/braintree/lb/netx/mark"
)

// lookAtNftables reads the marking rules, as lb balance does.
func lookAtNftables(ctx context.Context, _ *Machine) ([]Finding, error) {
	k, err := mark.NewKernel()
	if err != nil {
		return nil, err
	}
	_, err = k.List(ctx)
	if err := errors.Join(err, k.Close()); err != nil {
		return nil, err
	}
	return []Finding{good("the kernel has nftables")}, nil
}

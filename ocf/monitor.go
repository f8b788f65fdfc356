package ocf

import (
	"context"
	"errors"
	"fmt"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
)

// monitor reports whether the cluster runs on this machine. A failure has to last for the grace period, such as an unreachable daemon
// while the kernel forwards: a restart of the daemon does not touch the kernel and is over soon.
func (r resource) monitor(ctx context.Context) int {
	found, _ := salvage.Read(r.config) // an unreadable configuration gives no marks
	c, err := r.connect(found)
	if err != nil {
		r.logf("parameter control: %v", err)
		return errArgs
	}
	waiting, cancel := context.WithTimeout(ctx, r.GracePeriod)
	defer cancel()
	for {
		status, err := r.check(ctx, c, found)
		if err == nil {
			return status
		}
		if status != errGeneric || !r.pause(waiting) {
			r.logf("%v", err)
			return status
		}
	}
}

// check compares the daemon and the kernel once. The error is nil if the status is running or stopped.
func (r resource) check(ctx context.Context, c *client.Client, found salvage.Found) (int, error) {
	state, daemonErr := r.clusterState(ctx, c)
	forwards, err := r.kernelForwards(ctx, r.marks(found, state.Mark))
	switch {
	case errors.Is(err, netx.ErrNoPrivilege):
		return errPermission, err
	case err != nil:
		return errGeneric, err
	case daemonErr != nil && forwards:
		return errGeneric, fmt.Errorf("the kernel forwards for %s, but nothing updates its weights: %w", r.cluster, daemonErr)
	case daemonErr != nil:
		return statusNotRunning, nil
	case state.Running && forwards:
		r.saveRecord(runningRecord(state))
		return success, nil
	case state.Running:
		return errGeneric, fmt.Errorf("lb balance runs %s, but the kernel has no service for mark %d%s", r.cluster, state.Mark,
			lastError(state))
	case forwards:
		return errGeneric, fmt.Errorf("the kernel forwards for %s (mark %d), but lb balance does not run it", r.cluster, state.Mark)
	}
	return statusNotRunning, nil
}

// kernelForwards reports whether the kernel has a service with one of the marks. A kernel without IPVS has none.
func (r resource) kernelForwards(ctx context.Context, marks []ipvs.Mark) (bool, error) {
	table, err := r.OpenTable()
	if errors.Is(err, netx.ErrNoIPVS) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer table.Close()
	found, err := services(ctx, table, marks)
	return len(found) > 0, err
}

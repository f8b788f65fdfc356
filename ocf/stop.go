package ocf

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
)

// stop removes the cluster from the kernel: through lb balance if it responds, otherwise directly.
func (r resource) stop(ctx context.Context) int {
	found, _ := salvage.Read(r.config)
	state, daemonErr := r.stopInDaemon(ctx, found)
	table, err := r.OpenTable()
	if errors.Is(err, netx.ErrNoIPVS) {
		return success // such a kernel forwards nothing
	}
	if err != nil {
		return r.kernelError(err)
	}
	defer table.Close()
	marks := r.marks(found, state.Mark)
	if len(marks) == 0 {
		return r.stopWithoutMark(ctx, table, found, daemonErr)
	}
	if err := r.removeServices(ctx, table, append(r.relayMarks(found, state.RelayMark), marks...), daemonErr); err != nil {
		return r.kernelError(fmt.Errorf("stop %s: %w", r.cluster, err))
	}
	r.saveRecord(record{mark: uint32(marks[len(marks)-1]), stopped: true}) // the recorded mark, or the one that replaces it
	return success
}

// stopInDaemon makes lb balance stop the cluster and returns its state there; the zero state if lb balance does not give it. The error is
// nil if lb balance confirmed that it no longer runs the cluster.
func (r resource) stopInDaemon(ctx context.Context, found salvage.Found) (api.ClusterStatus, error) {
	c, err := r.connect(found)
	if err != nil {
		return api.ClusterStatus{}, err
	}
	request, cancel := context.WithTimeout(ctx, r.DaemonTimeout)
	defer cancel()
	if _, err := c.SetCluster(request, r.cluster, false); err != nil {
		return api.ClusterStatus{}, err
	}
	state, err := r.clusterState(ctx, c)
	if err != nil {
		r.logf("note: %v", err) // the cluster is stopped; only its marks are missing, and other sources may have them
	}
	return state, nil
}

// removeServices waits until lb balance has removed the services, if it confirmed the stop, and removes what remains.
func (r resource) removeServices(ctx context.Context, table ipvs.Table, marks []ipvs.Mark, daemonErr error) error {
	remaining, err := services(ctx, table, marks)
	if daemonErr == nil {
		waiting, cancel := context.WithTimeout(ctx, r.GracePeriod)
		defer cancel()
		for err == nil && len(remaining) > 0 && r.pause(waiting) {
			remaining, err = services(ctx, table, marks)
		}
	}
	if err != nil {
		return err
	}
	for _, s := range remaining {
		if err := ipvs.ApplyOne(ctx, table, ipvs.DeleteService(s.Key)); err != nil && !errors.Is(err, ipvs.ErrNoService) {
			return err
		}
		reason := ""
		if daemonErr != nil {
			reason = ": " + daemonErr.Error()
		}
		r.logf("removed %s of %s from the kernel without lb balance%s", s.Key, r.cluster, reason)
	}
	if remaining, err = services(ctx, table, marks); err == nil && len(remaining) > 0 {
		err = fmt.Errorf("%s is in the kernel again: another program adds it", remaining[0].Key)
	}
	return err
}

// stopWithoutMark stops a cluster with no known mark: the configuration, lb balance and the record have none. Such a cluster does not run
// here, unless the kernel has services with marks that belong to no cluster.
func (r resource) stopWithoutMark(ctx context.Context, table ipvs.Table, found salvage.Found, daemonErr error) int {
	var refused *client.RefusedError
	if daemonErr == nil || errors.As(daemonErr, &refused) && refused.NotFound {
		return success
	}
	if rec, ok := r.loadRecord(); ok && rec.stopped {
		return success // a second stop
	}
	all, err := table.Dump(ctx)
	if err != nil {
		return r.kernelError(fmt.Errorf("stop %s: %w", r.cluster, err))
	}
	all = slices.DeleteFunc(all, func(s ipvs.Service) bool { return r.belongsToAnother(found, uint32(s.Mark)) })
	if len(all) == 0 {
		return success
	}
	r.logf("the kernel balances %s, which may be %s: restore %s, or remove the service with `ipvsadm -D -f %d`; %v",
		all[0].Key, r.cluster, r.config, all[0].Mark, daemonErr)
	return errGeneric
}

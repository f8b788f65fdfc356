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

// stop takes the cluster out of the kernel: through the daemon where it answers, without it where it does not.
func (r resource) stop(ctx context.Context) int {
	found, _ := salvage.Read(r.config)
	state, daemonErr := r.stopDaemonSide(ctx, found)
	table, err := r.OpenTable()
	if errors.Is(err, netx.ErrNoIPVS) {
		return success // such a kernel forwards nothing
	}
	if err != nil {
		return r.kernelTrouble(err)
	}
	defer table.Close()
	marks := r.marks(found, state.Mark)
	if len(marks) == 0 {
		return r.stopUnknown(ctx, table, found, daemonErr)
	}
	if err := r.remove(ctx, table, append(r.relays(found, state.RelayMark), marks...), daemonErr); err != nil {
		return r.kernelTrouble(fmt.Errorf("stop %s: %w", r.cluster, err))
	}
	r.keep(record{mark: uint32(marks[len(marks)-1]), stopped: true}) // the recorded one or what takes its place
	return success
}

// stopDaemonSide has the daemon stop the cluster and returns what it knows about it, such as its marks; nothing when it knows nothing.
// The error is nil when the daemon answered that it does not run the cluster any more.
func (r resource) stopDaemonSide(ctx context.Context, found salvage.Found) (api.ClusterStatus, error) {
	c, err := r.daemon(found)
	if err != nil {
		return api.ClusterStatus{}, err
	}
	asking, cancel := context.WithTimeout(ctx, r.AskLimit)
	defer cancel()
	if _, err := c.SetCluster(asking, r.cluster, false); err != nil {
		return api.ClusterStatus{}, err
	}
	state, err := r.ask(ctx, c)
	if err != nil {
		r.say("note: %v", err) // it has stopped the cluster; only the mark is still to be known, and others may tell it
	}
	return state, nil
}

// remove waits until the daemon has taken the services out, if it said that it does, and takes out what is left.
func (r resource) remove(ctx context.Context, table ipvs.Table, marks []ipvs.Mark, daemonErr error) error {
	left, err := services(ctx, table, marks)
	if daemonErr == nil {
		patient, cancel := context.WithTimeout(ctx, r.Patience)
		defer cancel()
		for err == nil && len(left) > 0 && r.wait(patient) {
			left, err = services(ctx, table, marks)
		}
	}
	if err != nil {
		return err
	}
	for _, s := range left {
		if err := ipvs.ApplyOne(ctx, table, ipvs.DeleteService(s.Key)); err != nil && !errors.Is(err, ipvs.ErrNoService) {
			return err
		}
		r.say("took %s of %s out of the kernel without lb balance%s", s.Key, r.cluster, because(daemonErr))
	}
	if left, err = services(ctx, table, marks); err == nil && len(left) > 0 {
		err = fmt.Errorf("%s is in the kernel again: something else puts it there", left[0].Key)
	}
	return err
}

// because ends a sentence with an error, if there is one.
func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// stopUnknown stops a cluster of which nothing tells the mark: neither configuration nor daemon nor the record of a start. It
// does not run here then, unless the kernel balances marks that nothing explains.
func (r resource) stopUnknown(ctx context.Context, table ipvs.Table, found salvage.Found, daemonErr error) int {
	var refused *client.RefusedError
	if daemonErr == nil || errors.As(daemonErr, &refused) && refused.NotFound {
		return success
	}
	if rec, ok := r.recorded(); ok && rec.stopped {
		return success // a second stop
	}
	all, err := table.Dump(ctx)
	if err != nil {
		return r.kernelTrouble(fmt.Errorf("stop %s: %w", r.cluster, err))
	}
	all = slices.DeleteFunc(all, func(s ipvs.Service) bool { return r.belongsToAnother(found, uint32(s.Mark)) })
	if len(all) == 0 {
		return success
	}
	r.say("the kernel balances %s, and nothing tells whether that is %s: restore %s, or remove the service with `ipvsadm -D -f %d`; %v",
		all[0].Key, r.cluster, r.config, all[0].Mark, daemonErr)
	return errGeneric
}

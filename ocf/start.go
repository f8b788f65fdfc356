package ocf

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config/salvage"
	"github.com/braintree/lb/netx/ipvs"
)

// start makes lb balance run the cluster and waits until the kernel forwards with weights.
func (r resource) start(ctx context.Context) int {
	found, _ := salvage.Read(r.config)
	c, err := r.connect(found)
	if err != nil {
		r.logf("parameter control: %v", err)
		return errArgs
	}
	table, err := r.OpenTable()
	if err != nil {
		return r.kernelError(err)
	}
	defer table.Close()
	if err := r.startInDaemon(ctx, c); err != nil {
		r.logf("%v", err)
		return errGeneric
	}
	waiting, cancel := context.WithTimeout(ctx, r.WeightTimeout)
	defer cancel()
	for {
		state, destinations, err := r.checkStart(ctx, c, table)
		if err == nil && (weightsApplied(state, destinations) || !r.pause(waiting)) {
			return r.finishStart(state, destinations)
		}
		if err != nil && !r.pause(waiting) {
			r.logf("%v", err)
			return errGeneric
		}
	}
}

// startInDaemon makes lb balance run the cluster; it answers after the first readings of the nodes. If the daemon is not there yet, as at
// boot, startInDaemon waits for it.
func (r resource) startInDaemon(ctx context.Context, c *client.Client) error {
	request, cancelRequest := context.WithTimeout(ctx, r.timeout*3/4)
	defer cancelRequest()
	waiting, cancel := context.WithTimeout(ctx, r.GracePeriod)
	defer cancel()
	for {
		_, err := c.SetCluster(request, r.cluster, true)
		var unreachable *client.UnreachableError
		if err == nil || !errors.As(err, &unreachable) || errors.Is(err, context.DeadlineExceeded) || !r.pause(waiting) {
			return err
		}
	}
}

// checkStart returns the daemon's state of the cluster and the kernel's destinations; an error if the kernel has no service yet.
func (r resource) checkStart(ctx context.Context, c *client.Client, table ipvs.Table) (api.ClusterStatus, []ipvs.Destination, error) {
	state, err := r.clusterState(ctx, c)
	if err != nil {
		return state, nil, err
	}
	if !state.Running {
		return state, nil, fmt.Errorf("lb balance accepted the start of %s but does not run it%s", r.cluster, lastError(state))
	}
	found, err := services(ctx, table, []ipvs.Mark{ipvs.Mark(state.Mark)})
	if err != nil {
		return state, nil, err
	}
	if len(found) == 0 {
		return state, nil, fmt.Errorf("the kernel has no service for mark %d of %s yet%s", state.Mark, r.cluster, lastError(state))
	}
	var destinations []ipvs.Destination
	for _, s := range found { // one for each IP version
		destinations = append(destinations, s.Destinations...)
	}
	return state, destinations, nil
}

// weightsApplied reports whether every node's health is known and its weight is in the kernel.
func weightsApplied(state api.ClusterStatus, destinations []ipvs.Destination) bool {
	weights := map[string]int{}
	for _, d := range destinations {
		weights[d.Address.String()] = int(d.Weight)
	}
	for _, n := range state.Nodes {
		weight, found := weights[n.Address]
		if n.State == "unknown" || !found || weight != n.Weight {
			return false
		}
	}
	return true
}

// finishStart records the marks. A cluster without weights is only a warning: a failed start would move it from machine to machine while
// its nodes are down everywhere.
func (r resource) finishStart(state api.ClusterStatus, destinations []ipvs.Destination) int {
	r.saveRecord(runningRecord(state))
	if !slices.ContainsFunc(destinations, func(d ipvs.Destination) bool { return d.Weight > 0 }) {
		r.logf("warning: %s is running, but none of its %d nodes has a weight: `lb ctl cluster status %s` shows why",
			r.cluster, len(state.Nodes), r.cluster)
	}
	return success
}

// lastError quotes the daemon's last error about the cluster, for the end of a message.
func lastError(state api.ClusterStatus) string {
	if state.LastError == "" {
		return ""
	}
	return ": " + state.LastError
}

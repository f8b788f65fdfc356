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

// monitor tells whether the cluster runs here. What should not be, as a daemon that cannot be reached while the kernel forwards,
// is given a while to pass: a daemon that is restarted leaves the kernel alone and is back at once.
func (r resource) monitor(ctx context.Context) int {
	found, _ := salvage.Read(r.config) // what cannot be read is not known
	c, err := r.daemon(found)
	if err != nil {
		r.say("parameter control: %v", err)
		return errArgs
	}
	patient, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	for {
		status, trouble := r.look(ctx, c, found)
		if trouble == nil {
			return status
		}
		if status != errGeneric || !r.wait(patient) {
			r.say("%v", trouble)
			return status
		}
	}
}

// look compares the daemon and the kernel once. The error says what is wrong when the status is neither running nor stopped.
func (r resource) look(ctx context.Context, c *client.Client, found salvage.Found) (int, error) {
	state, daemonErr := r.ask(ctx, c)
	forwards, err := r.forwards(ctx, r.marks(found, state.Mark))
	switch {
	case errors.Is(err, netx.ErrNoPrivilege):
		return errPermission, err
	case err != nil:
		return errGeneric, err
	case daemonErr != nil && forwards:
		return errGeneric, fmt.Errorf("the kernel forwards for %s and nobody follows the nodes' health: %w", r.cluster, daemonErr)
	case daemonErr != nil:
		return statusNotRunning, nil
	case state.Running && forwards:
		r.keep(recordOf(state))
		return success, nil
	case state.Running:
		return errGeneric, fmt.Errorf("lb balance runs %s and the kernel has no service for mark %d%s", r.cluster, state.Mark, lastError(state))
	case forwards:
		return errGeneric, fmt.Errorf("the kernel forwards for %s (mark %d) and lb balance does not run it", r.cluster, state.Mark)
	}
	return statusNotRunning, nil
}

// lastError quotes what the daemon says went wrong.
func lastError(state api.ClusterStatus) string {
	if state.LastError == "" {
		return ""
	}
	return ": " + state.LastError
}

// forwards tells whether the kernel has a service with one of the marks. A kernel without IPVS has none.
func (r resource) forwards(ctx context.Context, marks []ipvs.Mark) (bool, error) {
	table, err := r.OpenTable()
	if errors.Is(err, netx.ErrNoIPVS) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer table.Close()
	there, err := services(ctx, table, marks)
	return len(there) > 0, err
}

// start has the daemon run the cluster and waits until the kernel forwards with weights.
func (r resource) start(ctx context.Context) int {
	found, _ := salvage.Read(r.config)
	c, err := r.daemon(found)
	if err != nil {
		r.say("parameter control: %v", err)
		return errArgs
	}
	table, err := r.OpenTable()
	if err != nil {
		return r.kernelTrouble(err)
	}
	defer table.Close()
	if err := r.startDaemonSide(ctx, c); err != nil {
		r.say("%v", err)
		return errGeneric
	}
	patient, cancel := context.WithTimeout(ctx, r.Settle)
	defer cancel()
	for {
		state, kernel, err := r.progress(ctx, c, table)
		if err == nil && (settled(state, kernel) || !r.wait(patient)) {
			return r.started(state, kernel)
		}
		if err != nil && !r.wait(patient) {
			r.say("%v", err)
			return errGeneric
		}
	}
}

// startDaemonSide asks the daemon to run the cluster; it answers after the first readings of the nodes. A daemon that is not there
// yet, as at boot, is waited for.
func (r resource) startDaemonSide(ctx context.Context, c *client.Client) error {
	asking, cancelAsking := context.WithTimeout(ctx, r.limit*3/4)
	defer cancelAsking()
	patient, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	for {
		_, err := c.SetCluster(asking, r.cluster, true)
		var unreachable *client.UnreachableError
		if err == nil || !errors.As(err, &unreachable) || errors.Is(err, context.DeadlineExceeded) || !r.wait(patient) {
			return err
		}
	}
}

// progress returns what the daemon says and the kernel's destinations for it; an error as long as there is no service.
func (r resource) progress(ctx context.Context, c *client.Client, table ipvs.Table) (api.ClusterStatus, []ipvs.Destination, error) {
	state, err := r.ask(ctx, c)
	if err != nil {
		return state, nil, err
	}
	if !state.Running {
		return state, nil, fmt.Errorf("lb balance was told to run %s and does not%s", r.cluster, lastError(state))
	}
	there, err := services(ctx, table, []ipvs.Mark{ipvs.Mark(state.Mark)})
	if err != nil {
		return state, nil, err
	}
	if len(there) == 0 {
		return state, nil, fmt.Errorf("the kernel has no service for mark %d of %s yet%s", state.Mark, r.cluster, lastError(state))
	}
	var destinations []ipvs.Destination
	for _, s := range there { // one for each address family
		destinations = append(destinations, s.Destinations...)
	}
	return state, destinations, nil
}

// settled tells whether every node's health is known and the kernel has the weight that follows from it.
func settled(state api.ClusterStatus, kernel []ipvs.Destination) bool {
	weights := map[string]int{}
	for _, d := range kernel {
		weights[d.Address.String()] = int(d.Weight)
	}
	for _, n := range state.Nodes {
		weight, there := weights[n.Address]
		if n.State == "unknown" || !there || weight != n.Weight {
			return false
		}
	}
	return true
}

// started records the mark and warns where the service stands without weights: to fail would move the cluster from machine to
// machine while its nodes are down everywhere.
func (r resource) started(state api.ClusterStatus, kernel []ipvs.Destination) int {
	r.keep(recordOf(state))
	if !slices.ContainsFunc(kernel, func(d ipvs.Destination) bool { return d.Weight > 0 }) {
		r.say("warning: %s runs, but none of its %d nodes has a weight: `lb ctl cluster status %s` shows why", r.cluster, len(state.Nodes), r.cluster)
	}
	return success
}

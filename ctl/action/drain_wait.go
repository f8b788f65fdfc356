package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

// drainPollInterval is the time between two counts of a drained node's connections.
const drainPollInterval = time.Second

// waitTimeoutError reports that a drained node still had connections when the wait ended.
type waitTimeoutError struct {
	Remaining string // what remained, and where
	Wait      time.Duration
}

// Error says what remained and that the drain continues.
func (e *waitTimeoutError) Error() string {
	return fmt.Sprintf("timed out after %s: %s; the drain continues: run the same command again to keep waiting", e.Wait, e.Remaining)
}

// waitForConnections waits until the drained nodes have no active connections in the kernel. It writes what remains to progress whenever
// that changes. After wait it returns a *waitTimeoutError.
func waitForConnections(ctx context.Context, progress io.Writer, balancer *client.Client, drained []api.DrainReport,
	wait time.Duration) error {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	tick := time.NewTicker(drainPollInterval)
	defer tick.Stop()
	last := ""
	for {
		remaining, err := remainingConnections(ctx, balancer, drained)
		var unreachable *client.UnreachableError
		switch {
		case errors.As(err, &unreachable) && ctx.Err() == nil:
			remaining = "cannot count connections: " + err.Error() // the balancer may be restarting, which ends no drain
		case err != nil:
			return err
		case remaining == "":
			fmt.Fprintln(progress, "no active connections left")
			return nil
		}
		if remaining != last {
			fmt.Fprintln(progress, remaining)
			last = remaining
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return &waitTimeoutError{remaining, wait}
		case <-tick.C:
		}
	}
}

// remainingConnections describes the active connections that the kernel still has to the drained nodes; "": none.
func remainingConnections(ctx context.Context, balancer *client.Client, drained []api.DrainReport) (string, error) {
	var remaining []string
	for _, d := range drained {
		state, err := balancer.Cluster(ctx, d.Cluster)
		if err != nil {
			return "", err
		}
		if state.Running && state.LastError != "" {
			remaining = append(remaining, fmt.Sprintf("the connections of %s in %s are not known: %s", d.Node, d.Cluster, state.LastError))
			continue
		}
		for _, n := range state.Nodes {
			switch {
			case n.Address != d.Node:
			case n.Drain == nil && n.State != api.StateLeaving:
				return "", fmt.Errorf("%s is no longer drained in %s: it was resumed, or the drain expired", d.Node, d.Cluster)
			case n.ActiveConns > 0:
				remaining = append(remaining, fmt.Sprintf("active connections of %s in %s: %d", d.Node, d.Cluster, n.ActiveConns))
			case n.KernelWeight != nil && *n.KernelWeight > 0:
				remaining = append(remaining, fmt.Sprintf("%s in %s still gets new connections: its weight in the kernel is %d", d.Node,
					d.Cluster, *n.KernelWeight))
			}
		}
	}
	return strings.Join(remaining, ", "), nil
}

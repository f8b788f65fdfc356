package action

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

// Why prints the stages that led to a node's weight. node is its address; "": every node.
func Why(ctx context.Context, out io.Writer, balancer *client.Client, cluster, node string) error {
	if node != "" {
		address, err := parseNode(node)
		if err != nil {
			return err
		}
		node = address.String() // the form that the balancer uses
	}
	state, err := balancer.Cluster(ctx, cluster)
	if err != nil {
		return err
	}
	found := false
	if node == "" || state.Notice != "" {
		writePolicy(out, state)
	}
	writeProblems(out, state.Problems)
	for _, n := range state.Nodes {
		if node != "" && n.Address != node {
			continue
		}
		found = true
		if err := writeStages(out, state, n); err != nil {
			return err
		}
	}
	if !found {
		return client.NotFound("cluster %s has no node %q: `lb ctl cluster status %s` shows its nodes", cluster, node, cluster)
	}
	return nil
}

// writePolicy writes what applies to all nodes of a cluster.
func writePolicy(out io.Writer, s api.ClusterStatus) {
	fmt.Fprintf(out, "%s: mode %s, all_down %s", s.Name, s.Mode, s.AllDown)
	if s.Notice != "" {
		fmt.Fprintf(out, "; %s", s.Notice)
	}
	fmt.Fprintln(out)
}

func writeStages(out io.Writer, s api.ClusterStatus, n api.NodeStatus) error {
	fmt.Fprintf(out, "%s, node %s: %s, weight %d", s.Name, n.Name(), n.State, n.Weight)
	if n.Watched != "" {
		fmt.Fprintf(out, ", watched by %s", n.Watched)
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, step := range n.Steps {
		fmt.Fprintf(w, "  %s\t%d → %d\t%s\n", step.Name, step.In, step.Out, step.Reason)
	}
	fmt.Fprintf(w, "  kernel\t%s\t%s\n", orDash(n.KernelWeight), kernelState(s, n))
	return w.Flush()
}

func kernelState(s api.ClusterStatus, n api.NodeStatus) string {
	switch {
	case s.LastError != "":
		return "the kernel rejected a change: " + s.LastError
	case n.KernelWeight != nil:
		return fmt.Sprintf("%d active and %d inactive connections", n.ActiveConns, n.InactiveConns)
	case s.Running:
		return "not in the kernel's table"
	}
	return "the cluster is stopped"
}

package ctl

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/cmdline"
)

// why asks how a weight came about.
func (con Console) why() *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "show how a node's weight came about, stage by stage, and what the kernel has",
		ArgsUsage: "CLUSTER [NODE]",
		Flags:     balancerFlags(),
		Description: `Without a node's address, every node of the cluster is shown. docs/rules.md says what the stages do.

Examples:
  lb ctl why webapp
  lb ctl why webapp 10.0.0.2`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 1, 2, "which cluster? lb ctl why CLUSTER [NODE]"); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			return Why(c.Context, con.Out, b, c.Args().Get(0), c.Args().Get(1))
		},
	}
}

// Why prints the stages by which the weight of a node came about, for one node by its address or, with "", for each.
func Why(ctx context.Context, out io.Writer, c *client.Client, cluster, node string) error {
	if node != "" {
		address, err := parseNode(node)
		if err != nil {
			return err
		}
		node = address.String() // as the balancer writes it
	}
	state, err := c.Cluster(ctx, cluster)
	if err != nil {
		return err
	}
	found := false
	if node == "" || state.Notice != "" {
		writeTogether(out, state)
	}
	for _, n := range state.Nodes {
		if node != "" && n.Address != node {
			continue
		}
		found = true
		if err := writeWhy(out, state, n); err != nil {
			return err
		}
	}
	if !found {
		return &client.RefusedError{Text: fmt.Sprintf("cluster %s has no node %q: `lb ctl cluster status %s` shows those it has", cluster, node, cluster), NotFound: true}
	}
	return nil
}

// writeTogether prints what goes for all nodes of a cluster.
func writeTogether(out io.Writer, s api.ClusterStatus) {
	fmt.Fprintf(out, "%s: mode %s, all_down %s", s.Name, s.Mode, s.AllDown)
	if s.Notice != "" {
		fmt.Fprintf(out, "; %s", s.Notice)
	}
	fmt.Fprintln(out)
}

func writeWhy(out io.Writer, s api.ClusterStatus, n api.NodeStatus) error {
	fmt.Fprintf(out, "%s, node %s: %s, weight %d", s.Name, n.Name(), n.State, n.Weight)
	if n.Watched != "" {
		fmt.Fprintf(out, ", watched by %s", n.Watched)
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, step := range n.Steps {
		fmt.Fprintf(w, "  %s\t%d → %d\t%s\n", step.Name, step.In, step.Out, step.Reason)
	}
	kernel := "the cluster is stopped"
	switch {
	case s.LastError != "":
		kernel = "the kernel refuses: " + s.LastError
	case n.KernelWeight != nil:
		kernel = fmt.Sprintf("%d active and %d other connections", n.ActiveConns, n.InactiveConns)
	case s.Running:
		kernel = "the kernel's table has not got it"
	}
	fmt.Fprintf(w, "  kernel\t%s\t%s\n", orDash(n.KernelWeight), kernel)
	return w.Flush()
}

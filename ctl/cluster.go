package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

// ClusterList prints the balancer's clusters, running and stopped.
func ClusterList(ctx context.Context, out io.Writer, c *client.Client, look Look) error {
	a, err := c.Ask(ctx, client.Question{Path: "/", JSON: look.JSON})
	if err != nil {
		return err
	}
	if err := a.Err(client.Balancer()); err != nil {
		return err
	}
	if look.JSON {
		return printJSON(out, a, client.Balancer())
	}
	return print(out, a)
}

// ClusterStatus prints one cluster with its nodes: what each reports, the weight that follows, and what the kernel has.
func ClusterStatus(ctx context.Context, out io.Writer, c *client.Client, name string, look Look) error {
	if look.JSON {
		a, err := c.ClusterJSON(ctx, name)
		if err != nil {
			return err
		}
		return printJSON(out, a, client.Balancer())
	}
	state, err := c.Cluster(ctx, name)
	if err != nil {
		return err
	}
	return writeCluster(out, state)
}

// writeCluster prints a line about the cluster and a table of its nodes.
func writeCluster(out io.Writer, s api.ClusterStatus) error {
	running := "stopped"
	if s.Running {
		running = "running"
	}
	fmt.Fprintf(out, "%s: %s, mark %d, %s, combined weight %d\n", s.Name, running, s.Mark, s.Scheduler, s.CombinedWeight)
	if s.Notice != "" {
		fmt.Fprintf(out, "notice: %s\n", s.Notice)
	}
	if s.LastError != "" {
		fmt.Fprintf(out, "last error: %s\n", s.LastError)
	}
	if len(s.Nodes) == 0 {
		_, err := fmt.Fprintln(out, "no nodes")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tHEALTH\tWEIGHT\tKERNEL\tACTIVE\tINACTIVE\tSTATE\tWHY")
	for _, n := range s.Nodes {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\n", n.Name(), orDash(n.Health), n.Weight, orDash(n.KernelWeight),
			n.ActiveConns, n.InactiveConns, n.State, n.Why)
	}
	return w.Flush()
}

// orDash prints a number that may be missing.
func orDash(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

// ClusterSwitch starts or stops a cluster and says what it did.
func ClusterSwitch(ctx context.Context, out io.Writer, c *client.Client, name string, run bool) error {
	changed, err := c.SetCluster(ctx, name, run)
	if err != nil {
		return err
	}
	words := map[[2]bool]string{ // run, changed
		{true, true}:   "%s started\n",
		{true, false}:  "%s already runs\n",
		{false, true}:  "%s stopped\n",
		{false, false}: "%s does not run\n",
	}
	_, err = fmt.Fprintf(out, words[[2]bool{run, changed}], name)
	return err
}

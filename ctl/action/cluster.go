package action

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

// ClusterList prints the balancer's clusters, running and stopped.
func ClusterList(ctx context.Context, out io.Writer, balancer *client.Client, format Format) error {
	r, err := balancer.Do(ctx, client.Request{Path: "/", JSON: format.JSON})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	return printResponse(out, r, format)
}

// ClusterStatus prints one cluster and its nodes: health, weight, what the kernel has, and the reason for the weight.
func ClusterStatus(ctx context.Context, out io.Writer, balancer *client.Client, name string, format Format) error {
	if format.JSON {
		r, err := balancer.ClusterJSON(ctx, name)
		if err != nil {
			return err
		}
		return printResponse(out, r, format)
	}
	state, err := balancer.Cluster(ctx, name)
	if err != nil {
		return err
	}
	return writeCluster(out, state)
}

// writeCluster writes one line about the cluster and a table of its nodes.
func writeCluster(out io.Writer, s api.ClusterStatus) error {
	running := "stopped"
	if s.Running {
		running = "running"
	}
	fmt.Fprintf(out, "%s: %s, mark %d, %s, combined weight %d\n", s.Name, running, s.Mark, s.Scheduler, s.CombinedWeight)
	for _, v := range s.VIPs {
		fmt.Fprintf(out, "virtual IP %s\n", v)
	}
	if s.Notice != "" {
		fmt.Fprintf(out, "notice: %s\n", s.Notice)
	}
	if s.LastError != "" {
		fmt.Fprintf(out, "last error: %s\n", s.LastError)
	}
	writeProblems(out, s.Problems)
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

// writeProblems writes one line for each problem.
func writeProblems(out io.Writer, problems []api.Problem) {
	for _, p := range problems {
		fmt.Fprintf(out, "problem: %s\n", p)
	}
}

// ClusterStart starts a cluster and prints whether that changed anything.
func ClusterStart(ctx context.Context, out io.Writer, balancer *client.Client, name string) error {
	changed, err := balancer.SetCluster(ctx, name, true)
	if err != nil {
		return err
	}
	if !changed {
		_, err = fmt.Fprintf(out, "%s is already running\n", name)
		return err
	}
	_, err = fmt.Fprintf(out, "%s started\n", name)
	return err
}

// ClusterStop stops a cluster and prints whether that changed anything.
func ClusterStop(ctx context.Context, out io.Writer, balancer *client.Client, name string) error {
	changed, err := balancer.SetCluster(ctx, name, false)
	if err != nil {
		return err
	}
	if !changed {
		_, err = fmt.Fprintf(out, "%s is not running\n", name)
		return err
	}
	_, err = fmt.Fprintf(out, "%s stopped\n", name)
	return err
}

package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/braintree/lb/balancer"
	"github.com/braintree/lb/ctl/client"
)

// startLimit bounds a start: it is answered after the first readings of the nodes, so within the cluster's check_timeout and a bit.
const startLimit = 60 * time.Second

// AskCluster asks the balancer for the state of one cluster. A cluster that it does not have is a *RefusedError.
func AskCluster(ctx context.Context, c *client.Client, name string) (balancer.ClusterStatus, error) {
	var state balancer.ClusterStatus
	a, err := askCluster(ctx, c, http.MethodGet, name)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(a.Body, &state); err != nil {
		return state, notJSON(client.Balancer(), a)
	}
	return state, nil
}

// SetCluster starts or stops a cluster. It tells whether anything changed: false says that it was so before.
func SetCluster(ctx context.Context, c *client.Client, name string, run bool) (bool, error) {
	method := http.MethodDelete
	if run {
		method = http.MethodPut
	}
	a, err := askCluster(ctx, c, method, name)
	return err == nil && a.Status != http.StatusNotModified, err
}

// askCluster puts one question about a cluster and sorts out the answers that are errors.
func askCluster(ctx context.Context, c *client.Client, method, name string) (client.Answer, error) {
	if err := checkName("cluster", name); err != nil {
		return client.Answer{}, err
	}
	q := client.Question{Method: method, Path: "/cluster/" + name, JSON: method == http.MethodGet}
	if method == http.MethodPut {
		q.Limit = startLimit
	}
	a, err := c.Ask(ctx, q)
	if err != nil {
		return a, err
	}
	if a.Status == http.StatusNotFound {
		return a, notFound("this balancer has no cluster %q: `lb ctl cluster list` shows those it has", name)
	}
	return a, judge(a, client.Balancer())
}

// ClusterList prints the balancer's clusters, running and stopped.
func ClusterList(ctx context.Context, out io.Writer, c *client.Client, look Look) error {
	a, err := c.Ask(ctx, client.Question{Path: "/", JSON: look.JSON})
	if err != nil {
		return err
	}
	if err := judge(a, client.Balancer()); err != nil {
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
		a, err := askCluster(ctx, c, http.MethodGet, name)
		if err != nil {
			return err
		}
		return printJSON(out, a, client.Balancer())
	}
	state, err := AskCluster(ctx, c, name)
	if err != nil {
		return err
	}
	return writeCluster(out, state)
}

// writeCluster prints a line about the cluster and a table of its nodes.
func writeCluster(out io.Writer, s balancer.ClusterStatus) error {
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
	changed, err := SetCluster(ctx, c, name, run)
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

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/usage"
)

// drainLimit bounds a drain or resume. The balancer answers within a quarter of that.
const drainLimit = time.Minute

// drainPoll is the time between two looks at the connections that a drained node still has.
const drainPoll = time.Second

// Drain is a node that an operator drains, or lets in again.
type Drain struct {
	Cluster string     // "" is every cluster that has the node
	Node    netip.Addr // its address
	Reason  string
	For     string // how long, such as 2h or 3d; "" is until it is taken back
	Who     string // the operator's user name
	Force   bool   // also where too few healthy nodes are left
}

// ParseDrain reads the arguments of drain and undrain: a cluster and a node, or none with a host.
func ParseDrain(verb string, args []string, host string) (Drain, error) {
	var d Drain
	address := host
	switch {
	case host == "" && len(args) == 2:
		d.Cluster, address = args[0], args[1]
		if err := client.CheckName("cluster", d.Cluster); err != nil {
			return d, err
		}
	case host != "" && len(args) > 0:
		return d, usage.Errorf("--host means every cluster that has the node: leave %q out, or write lb ctl %s CLUSTER NODE", strings.Join(args, " "), verb)
	case host == "":
		return d, usage.Errorf("which node? lb ctl %s CLUSTER NODE, or lb ctl %s --host NODE for every cluster that has it", verb, verb)
	}
	var err error
	d.Node, err = parseNode(address)
	return d, err
}

// parseNode reads the address of a node, in any form that it may have.
func parseNode(address string) (netip.Addr, error) {
	node, err := netip.ParseAddr(address)
	if err != nil {
		return node, usage.Errorf("%q is not the address of a node: write it as the configuration does, such as 10.0.0.1", address)
	}
	return node, nil
}

func (d Drain) path() string {
	if d.Cluster == "" {
		return "/drain/" + url.PathEscape(d.Node.String())
	}
	return "/cluster/" + d.Cluster + "/drain/" + url.PathEscape(d.Node.String())
}

// Do has the balancer drain the node, prints what it answers, and returns what is drained.
func (d Drain) Do(ctx context.Context, out io.Writer, c *client.Client) ([]api.DrainReport, error) {
	form := url.Values{"reason": {CleanReason(d.Reason)}, "who": {d.Who}}
	if d.For != "" {
		form.Set("for", d.For)
	}
	if d.Force {
		form.Set("force", "true")
	}
	return d.change(ctx, out, c, client.Question{Method: http.MethodPost, Path: d.path(), Form: form, JSON: true})
}

// Undo has the balancer let the node in again.
func (d Drain) Undo(ctx context.Context, out io.Writer, c *client.Client) error {
	query := url.Values{"reason": {CleanReason(d.Reason)}, "who": {d.Who}}
	_, err := d.change(ctx, out, c, client.Question{Method: http.MethodDelete, Path: d.path() + "?" + query.Encode(), JSON: true})
	return err
}

func (d Drain) change(ctx context.Context, out io.Writer, c *client.Client, q client.Question) ([]api.DrainReport, error) {
	q.Limit = drainLimit
	a, err := c.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.Status == http.StatusNotFound {
		return nil, client.NotFound("%s: `lb ctl cluster list` shows the clusters, `lb ctl drains` what is drained", a.Line())
	}
	if err := a.Err(client.Balancer()); err != nil {
		return nil, err
	}
	var change api.DrainChange
	if err := a.Decode(client.Balancer(), &change); err != nil {
		return nil, err
	}
	_, err = io.WriteString(out, change.String())
	return change.Drains, err
}

// Drains prints what is drained on this balancer.
func Drains(ctx context.Context, out io.Writer, c *client.Client, look Look) error {
	a, err := c.Ask(ctx, client.Question{Path: "/drains", JSON: true})
	if err != nil {
		return err
	}
	if err := a.Err(client.Balancer()); err != nil {
		return err
	}
	if look.JSON {
		return printJSON(out, a, client.Balancer())
	}
	var all []api.DrainReport
	if err := a.Decode(client.Balancer(), &all); err != nil {
		return err
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "nothing is drained")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLUSTER\tNODE\tACTIVE\tUNTIL\tWHO\tWHY")
	for _, d := range all {
		until := "-"
		if !d.Expires.IsZero() {
			until = d.Expires.Format(time.RFC3339)
		}
		active := fmt.Sprint(d.ActiveConns)
		if d.Stale {
			active = "-"
			d.Reason += " (not in the configuration)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Cluster, d.Node, active, until, d.Who, strings.TrimSpace(d.Reason))
	}
	return w.Flush()
}

// StillConnectedError says that a drained node still had connections when the wait was over.
type StillConnectedError struct {
	Left string // how many, where
	Wait time.Duration
}

// Error says what is left, and that the drain goes on.
func (e *StillConnectedError) Error() string {
	return fmt.Sprintf("after %s there are still %s; the drain stays: wait on with the same command, or cut them off", e.Wait, e.Left)
}

// Await waits until the kernel has no active connection any more to what is drained, and says on progress what is left whenever
// that changes.
func Await(ctx context.Context, progress io.Writer, c *client.Client, drained []api.DrainReport, wait time.Duration) error {
	limit := time.NewTimer(wait)
	defer limit.Stop()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	said := ""
	for {
		left, err := connections(ctx, c, drained)
		var unreachable *client.UnreachableError
		switch {
		case errors.As(err, &unreachable) && ctx.Err() == nil:
			left = "connections that cannot be counted: " + err.Error() // it may be on its way back: a restart ends no drain
		case err != nil:
			return err
		case left == "":
			fmt.Fprintln(progress, "no active connection is left")
			return nil
		}
		if left != said {
			fmt.Fprintln(progress, left)
			said = left
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return &StillConnectedError{left, wait}
		case <-tick.C:
		}
	}
}

// connections says how many active connections the kernel still has to what is drained; "" when none.
func connections(ctx context.Context, c *client.Client, drained []api.DrainReport) (string, error) {
	var left []string
	for _, d := range drained {
		state, err := c.Cluster(ctx, d.Cluster)
		if err != nil {
			return "", err
		}
		for _, n := range state.Nodes {
			switch {
			case n.Address != d.Node:
			case n.Drain == nil && n.State != "leaving":
				return "", fmt.Errorf("%s is no longer drained in %s: somebody let it in again, or its time is over", d.Node, d.Cluster)
			case n.ActiveConns > 0:
				left = append(left, fmt.Sprintf("active connections of %s in %s: %d", d.Node, d.Cluster, n.ActiveConns))
			case n.KernelWeight != nil && *n.KernelWeight > 0:
				left = append(left, fmt.Sprintf("new connections to %s in %s, for the kernel still has weight %d", d.Node, d.Cluster, *n.KernelWeight))
			}
		}
	}
	return strings.Join(left, ", "), nil
}

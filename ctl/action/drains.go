package action

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

// Drains prints the drained nodes of this balancer.
func Drains(ctx context.Context, out io.Writer, balancer *client.Client, format Format) error {
	r, err := balancer.Do(ctx, client.Request{Path: "/drains", JSON: true})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	if format.JSON {
		return printResponse(out, r, format)
	}
	var drains []api.DrainReport
	if err := r.Decode(&drains); err != nil {
		return err
	}
	if len(drains) == 0 {
		_, err := fmt.Fprintln(out, "no drained nodes")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLUSTER\tNODE\tACTIVE\tUNTIL\tWHO\tWHY")
	for _, d := range drains {
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

package action

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/usage"
)

// drainRequestTimeout bounds a drain or resume. The balancer answers within a quarter of it.
const drainRequestTimeout = time.Minute

// Drain is a node to drain, or to resume.
type Drain struct {
	Cluster string     // "": every cluster that has the node
	Node    netip.Addr // its address
	Reason  string
	For     string        // how long, such as 2h or 3d; "": until it is resumed
	Who     string        // the operator's user name
	Force   bool          // even if too few healthy nodes remain
	Wait    time.Duration // wait this long for the connections to end; 0: do not wait
}

// ParseDrain reads the arguments of drain or undrain (verb): a cluster and a node, or none with --host.
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
		return d, usage.Errorf("--host selects every cluster that has the node: remove %q, or use lb ctl %s CLUSTER NODE",
			strings.Join(args, " "), verb)
	case host == "":
		return d, usage.Errorf("missing node: usage: lb ctl %s CLUSTER NODE, or lb ctl %s --host NODE for every cluster that has it",
			verb, verb)
	}
	var err error
	d.Node, err = parseNode(address)
	return d, err
}

// parseNode reads a node's address in any notation.
func parseNode(address string) (netip.Addr, error) {
	node, err := netip.ParseAddr(address)
	if err != nil {
		return node, usage.Errorf("%q is not a node's address: use the one in the configuration, such as 10.0.0.1", address)
	}
	return node, nil
}

// Run asks for a reason if there is none, drains the node, prints the result, and waits for the node's connections to end if asked to.
func (d Drain) Run(ctx context.Context, s Streams, balancer *client.Client) error {
	if cleanReason(d.Reason) == "" {
		var err error
		if d.Reason, err = askReason(s.In, s.Out, "drained"); err != nil {
			return err
		}
	}
	drained, err := d.drain(ctx, s.Out, balancer)
	if err != nil || d.Wait == 0 {
		return err
	}
	return waitForConnections(ctx, s.Err, balancer, drained, d.Wait)
}

// drain drains the node, prints the change and returns the drains.
func (d Drain) drain(ctx context.Context, out io.Writer, balancer *client.Client) ([]api.DrainReport, error) {
	form := url.Values{"reason": {cleanReason(d.Reason)}, "who": {d.Who}}
	if d.For != "" {
		form.Set("for", d.For)
	}
	if d.Force {
		form.Set("force", "true")
	}
	return changeDrain(ctx, out, balancer, client.Request{Method: http.MethodPost, Path: d.path(), Form: form})
}

// Undo resumes the node and prints the change.
func (d Drain) Undo(ctx context.Context, out io.Writer, balancer *client.Client) error {
	query := url.Values{"reason": {cleanReason(d.Reason)}, "who": {d.Who}}
	_, err := changeDrain(ctx, out, balancer, client.Request{Method: http.MethodDelete, Path: d.path() + "?" + query.Encode()})
	return err
}

func (d Drain) path() string {
	if d.Cluster == "" {
		return "/drain/" + url.PathEscape(d.Node.String())
	}
	return "/cluster/" + d.Cluster + "/drain/" + url.PathEscape(d.Node.String())
}

// changeDrain sends a request that drains or resumes a node and prints the change.
func changeDrain(ctx context.Context, out io.Writer, balancer *client.Client, q client.Request) ([]api.DrainReport, error) {
	q.JSON, q.Timeout = true, drainRequestTimeout
	r, err := balancer.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	if r.Status == http.StatusNotFound {
		return nil, client.NotFound("%s: `lb ctl cluster list` shows the clusters, `lb ctl drains` the drained nodes", r.FirstLine())
	}
	var change api.DrainChange
	decoded := r.Decode(&change)
	if err := r.Err(); err != nil && change.Error == "" {
		return nil, err
	}
	if decoded != nil {
		return nil, decoded
	}
	failed := change.Error
	change.Error = "" // it is reported as the error
	if _, err := io.WriteString(out, change.String()); err != nil {
		return nil, err
	}
	if failed != "" {
		return nil, errors.New(failed)
	}
	return change.Drains, nil
}

package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/braintree/lb/balancer/api"
)

// startLimit bounds a start. The balancer responds after the first readings of the nodes, shortly after the cluster's check_timeout.
const startLimit = 60 * time.Second

// RefusedError reports that a daemon refused a request: the request is wrong, not the daemon (a response with a 4xx status).
type RefusedError struct {
	Text     string
	NotFound bool // the daemon has no such service or cluster, or there is nothing to delete (404)
}

// Error returns the text.
func (e *RefusedError) Error() string { return e.Text }

// NotFound makes the *RefusedError for something that a daemon does not have.
func NotFound(format string, args ...any) error {
	return &RefusedError{Text: fmt.Sprintf(format, args...), NotFound: true}
}

// NameError reports that a name cannot be the name of a service or cluster.
type NameError struct{ What, Name string }

// Error says which characters a name may have.
func (e *NameError) Error() string {
	return fmt.Sprintf("%q cannot be the name of a %s: names consist of letters, digits and any of _ : . -", e.Name, e.What)
}

// validName matches what both daemons accept as the name of a service or cluster.
var validName = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)

// CheckName returns a *NameError unless name can be the name of a service or cluster (what), so that nothing else becomes part of a path.
func CheckName(what, name string) error {
	if !validName.MatchString(name) || name == "." || name == ".." {
		return &NameError{what, name}
	}
	return nil
}

// Err turns a status that the caller does not expect into an error: nil below 400, a *RefusedError below 500.
func (a Answer) Err(from Daemon) error {
	switch {
	case a.Status < 400:
		return nil
	case a.Status < 500:
		return &RefusedError{Text: fmt.Sprintf("%s refused: %s", from.Name, a.Line())}
	}
	return fmt.Errorf("%s answered %d: %s; look at `journalctl -u %s`", from.Name, a.Status, a.Line(), from.Unit)
}

// Decode reads a JSON answer into v. Anything else is an error: a different program listens there.
func (a Answer) Decode(from Daemon, v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the answer %q is not JSON: does %s listen there?", a.Line(), from.Name)
	}
	return nil
}

// Cluster returns the state of one cluster of the balancer. A cluster that the balancer does not have is a *RefusedError.
func (c *Client) Cluster(ctx context.Context, name string) (api.ClusterStatus, error) {
	var state api.ClusterStatus
	a, err := c.askCluster(ctx, http.MethodGet, name)
	if err != nil {
		return state, err
	}
	return state, a.Decode(c.daemon, &state)
}

// ClusterJSON is Cluster, as the balancer sent it.
func (c *Client) ClusterJSON(ctx context.Context, name string) (Answer, error) {
	return c.askCluster(ctx, http.MethodGet, name)
}

// SetCluster starts or stops a cluster. It returns false if the cluster was in that state already.
func (c *Client) SetCluster(ctx context.Context, name string, run bool) (changed bool, err error) {
	method := http.MethodDelete
	if run {
		method = http.MethodPut
	}
	a, err := c.askCluster(ctx, method, name)
	return err == nil && a.Status != http.StatusNotModified, err
}

// askCluster sends one request about a cluster and returns failures as errors.
func (c *Client) askCluster(ctx context.Context, method, name string) (Answer, error) {
	if err := CheckName("cluster", name); err != nil {
		return Answer{}, err
	}
	q := Question{Method: method, Path: "/cluster/" + name, JSON: method == http.MethodGet}
	if method == http.MethodPut {
		q.Limit = startLimit
	}
	a, err := c.Ask(ctx, q)
	if err != nil {
		return a, err
	}
	if a.Status == http.StatusNotFound {
		return a, NotFound("this balancer has no cluster %q: `lb ctl cluster list` shows its clusters", name)
	}
	return a, a.Err(c.daemon)
}

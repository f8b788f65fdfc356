package client

import (
	"context"
	"net/http"
	"time"

	"github.com/braintree/lb/balancer/api"
)

// startTimeout bounds a start. The balancer answers after the first readings of the nodes, shortly after the cluster's check_timeout.
const startTimeout = 60 * time.Second

// Cluster returns the state of one cluster of the balancer. A cluster that the balancer does not have is a *RefusedError.
func (c *Client) Cluster(ctx context.Context, name string) (api.ClusterStatus, error) {
	var state api.ClusterStatus
	r, err := c.doCluster(ctx, http.MethodGet, name)
	if err != nil {
		return state, err
	}
	return state, r.Decode(&state)
}

// ClusterJSON is Cluster, as the balancer sent it.
func (c *Client) ClusterJSON(ctx context.Context, name string) (Response, error) {
	return c.doCluster(ctx, http.MethodGet, name)
}

// SetCluster starts or stops a cluster. It returns false if the cluster was in that state already.
func (c *Client) SetCluster(ctx context.Context, name string, run bool) (changed bool, err error) {
	method := http.MethodDelete
	if run {
		method = http.MethodPut
	}
	r, err := c.doCluster(ctx, method, name)
	return err == nil && r.Status != http.StatusNotModified, err
}

// doCluster sends one request about a cluster. A status of 400 or above is an error.
func (c *Client) doCluster(ctx context.Context, method, name string) (Response, error) {
	if err := CheckName("cluster", name); err != nil {
		return Response{}, err
	}
	q := Request{Method: method, Path: "/cluster/" + name, JSON: method == http.MethodGet}
	if method == http.MethodPut {
		q.Timeout = startTimeout
	}
	r, err := c.Do(ctx, q)
	if err != nil {
		return r, err
	}
	if r.Status == http.StatusNotFound {
		return r, NotFound("this balancer has no cluster %q: `lb ctl cluster list` shows its clusters", name)
	}
	return r, r.Err()
}

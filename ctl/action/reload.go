package action

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/braintree/lb/balancer/client"
)

// reloadTimeout bounds a reload or a plan. A reload takes two reconciles.
const reloadTimeout = 2 * time.Minute

// Reload makes the balancer reload its configuration and prints the result. A refused reload is a *client.RefusedError.
func Reload(ctx context.Context, out io.Writer, balancer *client.Client, force bool) error {
	q := client.Request{Method: http.MethodPost, Path: "/reload", Timeout: reloadTimeout}
	if force {
		q.Path += "?force=true"
	}
	r, err := balancer.Do(ctx, q)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	return printResponse(out, r, Format{})
}

package action

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/braintree/lb/balancer/client"
)

// ErrDown reports that the service is down. The printed result already says so.
var ErrDown = errors.New("the service is down")

// Status prints the health of one service as the agent serves it. It returns ErrDown if the service is down, and a *client.RefusedError if
// the agent does not have it.
func Status(ctx context.Context, out io.Writer, agent *client.Client, service string, format Format) error {
	if err := client.CheckName("service", service); err != nil {
		return err
	}
	r, err := agent.Do(ctx, client.Request{Path: "/" + service + "/status", JSON: format.JSON})
	if err != nil {
		return err
	}
	switch r.Status {
	case http.StatusOK, http.StatusServiceUnavailable, http.StatusNotFound:
		if err := printResponse(out, r, Format{JSON: format.JSON}); err != nil {
			return err
		}
	}
	switch r.Status {
	case http.StatusServiceUnavailable:
		return ErrDown
	case http.StatusNotFound:
		return noSuchService(service)
	}
	return r.Err()
}

func noSuchService(service string) error {
	return client.NotFound("this agent has no service %q: `lb ctl list` shows its services", service)
}

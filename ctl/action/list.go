package action

import (
	"context"
	"io"

	"github.com/braintree/lb/balancer/client"
)

// List prints the agent's services: reported and measured health, and what is forced and why.
func List(ctx context.Context, out io.Writer, agent *client.Client, format Format) error {
	r, err := agent.Do(ctx, client.Request{Path: "/", JSON: format.JSON})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return err
	}
	return printResponse(out, r, format)
}

package ctl

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/cmdline"
)

// reloadLimit bounds a reload, which takes two cycles.
const reloadLimit = 2 * time.Minute

// reload has the balancer read its configuration again.
func (con Console) reload() *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "have this load balancer read its configuration again, and tell what comes of it",
		Flags: balancerFlags(&cli.BoolFlag{Name: "force", Usage: "also when it takes away more than half of the clusters that run, or the only one"}),
		Description: `Exit status: 0 it is taken over, 2 it is refused and nothing has changed.

Examples:
  lb ctl check-config && lb ctl reload
  lb ctl reload --force`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			return Reload(c.Context, con.Out, b, c.Bool("force"))
		},
	}
}

// Reload asks for a reload and prints the answer. One that is refused is a *client.RefusedError.
func Reload(ctx context.Context, out io.Writer, c *client.Client, force bool) error {
	q := client.Question{Method: http.MethodPost, Path: "/reload", Limit: reloadLimit}
	if force {
		q.Path += "?force=true"
	}
	a, err := c.Ask(ctx, q)
	if err == nil {
		err = a.Err(client.Balancer())
	}
	if err != nil {
		return err
	}
	return print(out, a)
}

package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/cmdline"
)

// plan asks the balancer what it would change.
func (con Console) plan() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "show what this load balancer would change in the kernel now or, with a new configuration, by a reload",
		Flags: balancerFlags(jsonFlag(),
			&cli.StringFlag{Name: "config", Usage: "`FILE` that a reload would read; with what it includes, it is sent to the balancer"}),
		Description: `Nothing is changed. Without --config the answer is "nothing to change", unless somebody else has just changed the
kernel's table. With it: every change, the connections of nodes and services that leave or go to weight 0, and what cannot
be known before the new nodes have answered. -c names, as ever, the file that says where the balancer listens.

Exit status: 0 the plan is printed, 2 a reload with that file would be refused, 78 the file has mistakes.

Examples:
  lb ctl plan
  lb ctl plan --config ./lb.toml
  lb ctl plan --config /etc/lb/lb.toml && lb ctl reload
  lb ctl plan --config ./lb.toml --json`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			q := client.Question{Path: "/plan", JSON: true, Limit: reloadLimit}
			if c.IsSet("config") {
				q.Method = http.MethodPost
				if q.Body, err = con.candidate(c.String("config")); err != nil {
					return err
				}
			}
			return Plan(c.Context, con.Out, b, q, con.look(c))
		},
	}
}

// candidate reads a configuration, judges it, and gives it as the balancer takes it.
func (con Console) candidate(path string) ([]byte, error) {
	abs, err := filepath.Abs(path) // what the balancer says about it is true wherever it runs
	if err != nil {
		return nil, fmt.Errorf("find %s: %w: give its whole path", path, err)
	}
	files, err := config.Files(abs)
	if err != nil {
		return nil, err
	}
	if _, err := config.LoadFiles(files, con.Checks); err != nil {
		return nil, err
	}
	return json.Marshal(api.Candidate{Files: files})
}

// Plan prints the answer to a question for a plan. A reload that would be refused is a *client.RefusedError, after the plan is printed.
func Plan(ctx context.Context, out io.Writer, c *client.Client, q client.Question, look Look) error {
	a, err := c.Ask(ctx, q)
	if err == nil {
		err = a.Err(client.Balancer())
	}
	if err != nil {
		return err
	}
	var p api.Plan
	if err := a.Decode(client.Balancer(), &p); err != nil {
		return err
	}
	if look.JSON {
		err = printJSON(out, a, client.Balancer())
	} else {
		_, err = io.WriteString(out, p.String())
	}
	if err == nil && p.Refused != "" {
		err = &client.RefusedError{Text: client.Balancer().Name + " would refuse a reload with that file"}
	}
	return err
}

// Package ctl is the command table of the operator's tool: names, options and help texts, and the connection of each command to its action.
package ctl

import (
	"math"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/action"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/netx/ipvs"
)

// Console is what the commands work with.
type Console struct {
	action.Streams
	Terminal  bool // Out is a terminal
	Version   string
	Getenv    func(string) string
	Load      config.Loader
	Checks    config.CheckValidator
	OpenTable func() (ipvs.Table, error) // opens the kernel's IPVS table
	// Litmusctl: lb was called by litmus_paper's name. An empty --reason is then accepted, because existing scripts pass one.
	Litmusctl bool
}

// count is how many arguments a command takes.
type count struct{ min, max int }

// anyNumber is the max of a command without an upper limit.
const anyNumber = math.MaxInt

// onAgent makes the Action of a command that needs a client of the agent.
func (con Console) onAgent(n count, run func(*cli.Context, *client.Client) error) cli.ActionFunc {
	return onDaemon(n, con.agent, run)
}

// onBalancer makes the Action of a command that needs a client of the balancer.
func (con Console) onBalancer(n count, run func(*cli.Context, *client.Client) error) cli.ActionFunc {
	return onDaemon(n, con.balancer, run)
}

func onDaemon(n count, connect func(*cli.Context) (*client.Client, error), run func(*cli.Context, *client.Client) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := cmdline.Arguments(c, n.min, n.max); err != nil {
			return err
		}
		daemon, err := connect(c)
		if err != nil {
			return err
		}
		return run(c, daemon)
	}
}

// onConfig makes the Action of a command that needs the configuration.
func (con Console) onConfig(n count, run func(*cli.Context, *config.Config) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := cmdline.Arguments(c, n.min, n.max); err != nil {
			return err
		}
		cfg, err := con.Load(c.String("config"))
		if err != nil {
			return err
		}
		return run(c, cfg)
	}
}

// format reads from the options how to print a result.
func (con Console) format(c *cli.Context) action.Format {
	return action.Format{JSON: c.Bool("json"), NoColor: !con.Terminal || con.Getenv("NO_COLOR") != ""}
}

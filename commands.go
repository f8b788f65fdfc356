package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/daemon"
	"github.com/braintree/lb/ctl/exit"
	"github.com/braintree/lb/netx/lab/demo"
)

// lb is the command table of the whole program. The subcommands of ctl are in ctl/commands.go.
func (p process) lb() *cli.App {
	return &cli.App{
		Name:  "lb",
		Usage: "keeps a service up: health of app nodes, weights in IPVS, and a resource agent for Pacemaker",
		Description: `Examples:
  lb agent                                     run on each app node
  lb balance                                   run on each load balancer
  lb ctl force down webapp -r "apt upgrades"   take this node out of rotation
  lb ctl cluster status webapp                 show the weights and their reasons

` + exit.Statuses,
		Flags: append(commonFlags(), &cli.BoolFlag{Name: "version", Usage: "print the version"}),
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return p.printVersion()
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			p.agent(),
			p.balance(),
			p.ctl(),
			p.ocf(),
			p.demo(),
			{
				Name:        "version",
				Usage:       "print the versions of lb and Go, and the platform",
				Description: "Examples:\n  lb version",
				Action: func(c *cli.Context) error {
					if err := cmdline.Arguments(c, 0, 0); err != nil {
						return err
					}
					return p.printVersion()
				},
			},
		},
	}
}

// litmusctl is the command table under litmus_paper's name.
func (p process) litmusctl() *cli.App {
	con := p.console()
	con.Litmusctl = true
	return &cli.App{
		Name:        "litmusctl",
		Usage:       "lists and forces the services of this app node (lb ctl, under litmus_paper's name)",
		Description: exit.LitmusctlStatuses,
		Flags:       []cli.Flag{configFlag()},
		Commands:    con.ServiceCommands(),
	}
}

// commonFlags are the options of every command.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		configFlag(),
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "of a daemon: debug, info, warn or error"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "of a daemon, on standard error: text or json"},
	}
}

func configFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "config", Aliases: []string{"c"}, Value: client.DefaultConfig, EnvVars: []string{"LB_CONFIG"},
		Usage: "`FILE` with the configuration of all modes",
	}
}

// agent is the daemon of an app node.
func (p process) agent() *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "measure the health of this app node's services and serve it over HTTP",
		Description: `SIGHUP reloads the configuration. SIGTERM and SIGINT stop the daemon.

Examples:
  lb agent
  lb agent -c ./lb.toml --log-level debug
  lb agent check webapp
  lb agent tunnel --undo`,
		Action:      func(c *cli.Context) error { return p.runDaemon(c, runAgent) },
		Subcommands: p.console().AgentCommands(),
	}
}

// balance is the daemon of a load balancer.
func (p process) balance() *cli.Command {
	return &cli.Command{
		Name:  "balance",
		Usage: "set each node's weight in the kernel's load balancer by its health",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "poll every node once, print what would change, and change nothing"}},
		Description: `SIGHUP reloads the configuration, as lb ctl reload does. SIGTERM and SIGINT stop the daemon; the
kernel keeps forwarding with its weights.

Examples:
  lb balance -c ./lb.toml --log-level debug
  lb balance --dry-run`,
		Action: func(c *cli.Context) error {
			return p.runDaemon(c, func(ctx context.Context, e daemonEnv) error {
				if c.Bool("dry-run") {
					return runBalancer(ctx, e, p.out)
				}
				return runBalancer(ctx, e, nil)
			})
		},
	}
}

// ctl is the operator's tool.
func (p process) ctl() *cli.Command {
	return &cli.Command{
		Name:  "ctl",
		Usage: "the operator's tool: services, clusters, drains, events and configuration",
		Description: `Examples:
  lb ctl list
  lb ctl force down webapp -r "apt upgrades"
  lb ctl why webapp 10.0.0.2
  lb ctl drain webapp 10.0.0.2 -r "new disks" --for 2h --wait 5m
  lb ctl events --follow
  lb ctl import bigbrother /etc/big_brother.conf --vip webapp=203.0.113.7:443
  lb ctl pacemaker | crm configure load update -`,
		Subcommands: p.console().Commands(),
	}
}

// ocf is the resource agent as a subcommand of lb.
func (p process) ocf() *cli.Command {
	return &cli.Command{
		Name:      "ocf",
		Usage:     "resource agent for Pacemaker, also under the name bigbrother",
		ArgsUsage: "ACTION",
		Description: `Pacemaker calls it by the link /usr/lib/ocf/resource.d/braintree/bigbrother. Parameters are
environment variables: see lb ocf usage.

Examples:
  OCF_RESKEY_cluster=webapp lb ocf monitor
  lb ocf meta-data`,
		Action: func(c *cli.Context) error {
			env := p.env
			if c.IsSet("config") {
				env = append([]string{"OCF_RESKEY_config=" + c.String("config")}, env...) // the environment takes precedence
			}
			if status := p.resourceAgent(c.Context, env, c.Args().Slice()); status != exit.OK {
				return exit.Code(status)
			}
			return nil
		},
	}
}

// demo shows the talk live.
func (p process) demo() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "play the talk live on this machine's kernel, in temporary network namespaces",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "step", Usage: "wait for the Enter key before each scene"},
			&cli.BoolFlag{Name: "logs", Usage: "show the daemons' logs on standard error"},
		},
		Description: `Needs root and a kernel with IPVS. Without such a kernel, scripts/demo runs it in a virtual machine.

Examples:
  lb demo
  lb demo --step`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the lb binary: %w", err)
			}
			o := demo.Options{Binary: binary, Out: p.out, Width: p.width}
			if c.Bool("step") {
				o.Keys = demo.Keys(p.in)
			}
			if c.Bool("logs") {
				o.Logs = p.err
			}
			return daemon.RunUntilSignal(c.Context, func(ctx context.Context, _ <-chan struct{}) error { return demo.Run(ctx, o) })
		},
	}
}

package ctl

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/action"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/importer"
	"github.com/braintree/lb/ctl/usage"
)

// Commands are the subcommands of lb ctl.
func (con Console) Commands() []*cli.Command {
	return slices.Concat(con.ServiceCommands(), con.clusterCommands(), con.drainCommands(), con.reloadCommands(), con.configCommands(),
		con.pacemakerCommands())
}

// ServiceCommands are those for an app node's services. litmusctl has the same.
func (con Console) ServiceCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name:  "list",
			Usage: "list the services of this app node: reported and measured health, and what is forced", Description: listHelp,
			Flags: agentFlags(jsonFlag()),
			Action: con.onAgent(count{0, 0}, func(c *cli.Context, agent *client.Client) error {
				return action.List(c.Context, con.Out, agent, con.format(c))
			}),
		},
		{
			Name: "status", ArgsUsage: "SERVICE",
			Usage: "show the health of one service, check by check", Description: statusHelp,
			Flags: agentFlags(jsonFlag()),
			Action: con.onAgent(count{1, 1}, func(c *cli.Context, agent *client.Client) error {
				return action.Status(c.Context, con.Out, agent, c.Args().First(), con.format(c))
			}),
		},
		{
			Name: "force", ArgsUsage: "down|up|health N [SERVICE]",
			Usage: "force a service, or all services, down or up, or limit its health", Description: forceHelp,
			Flags: forceFlags(),
			Action: func(c *cli.Context) error {
				f, err := action.ParseForce(c.Args().Slice(), c.Bool("delete"))
				if err != nil {
					return err
				}
				agent, err := con.agent(c)
				if err != nil {
					return err
				}
				f.Who, f.Reason, f.For = action.Who(con.Getenv), c.String("reason"), c.String("for")
				f.Ask, f.Confirm = !(con.Litmusctl && c.IsSet("reason")), !con.Litmusctl
				return f.Run(c.Context, con.Streams, agent)
			},
		},
	}
}

func (con Console) clusterCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "cluster", HideHelpCommand: true,
			Usage: "list, show, start or stop the clusters of this load balancer", Description: clusterHelp,
			Subcommands: con.clusterSubcommands(),
		},
		{
			Name: "why", ArgsUsage: "CLUSTER [NODE]",
			Usage: "show how a node's weight was decided, stage by stage, and what the kernel has", Description: whyHelp,
			Flags: balancerFlags(),
			Action: con.onBalancer(count{1, 2}, func(c *cli.Context, balancer *client.Client) error {
				return action.Why(c.Context, con.Out, balancer, c.Args().Get(0), c.Args().Get(1))
			}),
		},
		{
			Name:  "events",
			Usage: "show what happened on this load balancer: each change of a weight or state, and its cause", Description: eventsHelp,
			Flags: eventFlags(),
			Action: con.onBalancer(count{0, 0}, func(c *cli.Context, balancer *client.Client) error {
				q := action.EventsQuery{Cluster: c.String("cluster")}
				if c.IsSet("since") {
					since := c.Uint64("since")
					q.Since = &since
				}
				if c.Bool("follow") {
					return action.FollowEvents(c.Context, con.Out, balancer, q, con.format(c))
				}
				return action.Events(c.Context, con.Out, balancer, q, con.format(c))
			}),
		},
	}
}

func (con Console) clusterSubcommands() []*cli.Command {
	return []*cli.Command{
		{
			Name:  "list",
			Usage: "list the clusters, running and stopped", Description: clusterListHelp,
			Flags: balancerFlags(jsonFlag()),
			Action: con.onBalancer(count{0, 0}, func(c *cli.Context, balancer *client.Client) error {
				return action.ClusterList(c.Context, con.Out, balancer, con.format(c))
			}),
		},
		{
			Name: "status", ArgsUsage: "CLUSTER",
			Usage: "show a cluster's nodes: health, weight, connections, and the reason for each weight", Description: clusterStatusHelp,
			Flags: balancerFlags(jsonFlag()),
			Action: con.onBalancer(count{1, 1}, func(c *cli.Context, balancer *client.Client) error {
				return action.ClusterStatus(c.Context, con.Out, balancer, c.Args().First(), con.format(c))
			}),
		},
		{
			Name: "start", ArgsUsage: "CLUSTER",
			Usage: "add a cluster to the kernel; succeeds if it is already running", Description: clusterStartHelp,
			Flags: balancerFlags(),
			Action: con.onBalancer(count{1, 1}, func(c *cli.Context, balancer *client.Client) error {
				return action.ClusterStart(c.Context, con.Out, balancer, c.Args().First())
			}),
		},
		{
			Name: "stop", ArgsUsage: "CLUSTER",
			Usage: "remove a cluster from the kernel, which ends its connections", Description: clusterStopHelp,
			Flags: balancerFlags(),
			Action: con.onBalancer(count{1, 1}, func(c *cli.Context, balancer *client.Client) error {
				return action.ClusterStop(c.Context, con.Out, balancer, c.Args().First())
			}),
		},
	}
}

func (con Console) drainCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "drain", ArgsUsage: "CLUSTER NODE",
			Usage: "send a node no new connections, and let its open connections end", Description: drainHelp,
			Flags: drainFlags(),
			Action: func(c *cli.Context) error {
				d, err := action.ParseDrain("drain", c.Args().Slice(), c.String("host"))
				if err != nil {
					return err
				}
				if c.IsSet("wait") && c.Duration("wait") <= 0 {
					return usage.Errorf("--wait needs a time above 0, such as 5m")
				}
				balancer, err := con.balancer(c)
				if err != nil {
					return err
				}
				d.Who, d.Reason, d.For = action.Who(con.Getenv), c.String("reason"), c.String("for")
				d.Force, d.Wait = c.Bool("force"), c.Duration("wait")
				return d.Run(c.Context, con.Streams, balancer)
			},
		},
		{
			Name: "undrain", ArgsUsage: "CLUSTER NODE",
			Usage: "resume a drained node; its weight ramps up", Description: undrainHelp,
			Flags: balancerFlags(hostFlag(), reasonFlag("`WHY`, for the record")),
			Action: func(c *cli.Context) error {
				d, err := action.ParseDrain("undrain", c.Args().Slice(), c.String("host"))
				if err != nil {
					return err
				}
				balancer, err := con.balancer(c)
				if err != nil {
					return err
				}
				d.Who, d.Reason = action.Who(con.Getenv), c.String("reason")
				return d.Undo(c.Context, con.Out, balancer)
			},
		},
		{
			Name:  "drains",
			Usage: "list the drained nodes of this load balancer: who drained them, why, and until when", Description: drainsHelp,
			Flags: balancerFlags(jsonFlag()),
			Action: con.onBalancer(count{0, 0}, func(c *cli.Context, balancer *client.Client) error {
				return action.Drains(c.Context, con.Out, balancer, con.format(c))
			}),
		},
	}
}

func (con Console) reloadCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name:        "plan",
			Usage:       "preview what this load balancer would change in the kernel, now or after a reload with a new configuration",
			Description: planHelp,
			Flags: balancerFlags(jsonFlag(),
				&cli.StringFlag{Name: "config", Usage: "`FILE` that a reload would read; it is sent to the balancer with its includes"}),
			Action: con.onBalancer(count{0, 0}, func(c *cli.Context, balancer *client.Client) error {
				path := ""
				if c.IsSet("config") {
					path = c.String("config")
				}
				q, err := action.PlanRequest(path, con.Checks)
				if err != nil {
					return err
				}
				return action.Plan(c.Context, con.Out, balancer, q, con.format(c))
			}),
		},
		{
			Name:  "reload",
			Usage: "reload this load balancer's configuration and print the result", Description: reloadHelp,
			Flags: balancerFlags(&cli.BoolFlag{Name: "force",
				Usage: "reload even if that removes more than half of the running clusters, or the only one"}),
			Action: con.onBalancer(count{0, 0}, func(c *cli.Context, balancer *client.Client) error {
				return action.Reload(c.Context, con.Out, balancer, c.Bool("force"))
			}),
		},
	}
}

func (con Console) configCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "check-config", ArgsUsage: "[FILE]",
			Usage: "check the configuration: all errors at once, each with its location and a fix", Description: checkConfigHelp,
			Action: func(c *cli.Context) error {
				if err := cmdline.Arguments(c, 0, 1); err != nil {
					return err
				}
				path := c.String("config")
				if c.NArg() == 1 {
					path = c.Args().First()
				}
				return action.CheckConfig(c.Context, con.Streams, con.Load, path)
			},
		},
		{
			Name:  "example-config",
			Usage: "print an annotated configuration: every key with its default", Description: exampleConfigHelp,
			Action: func(c *cli.Context) error {
				if err := cmdline.Arguments(c, 0, 0); err != nil {
					return err
				}
				return action.ExampleConfig(con.Out)
			},
		},
		{
			Name: "import", HideHelpCommand: true,
			Usage: "convert a configuration of litmus_paper or big_brother to lb.toml", Description: importHelp,
			Subcommands: con.importSubcommands(),
		},
		{
			Name:  "doctor",
			Usage: "check that this machine is as lb needs it: the kernel, the daemon, its files, the clock", Description: doctorHelp,
			Flags: []cli.Flag{jsonFlag()},
			Action: con.onConfig(count{0, 0}, func(c *cli.Context, cfg *config.Config) error {
				return action.Doctor(c.Context, con.Out, cfg, con.Version, con.format(c))
			}),
		},
	}
}

func (con Console) importSubcommands() []*cli.Command {
	vips := &vipFlag{}
	return []*cli.Command{
		{
			Name: "litmus", ArgsUsage: "FILE...",
			Usage: "import litmus_paper's YAML (.yaml, .yml) or Ruby, with the files that it includes", Description: importLitmusHelp,
			Flags: importFlags(),
			Action: func(c *cli.Context) error {
				if err := cmdline.Arguments(c, 1, anyNumber); err != nil {
					return err
				}
				r, err := importer.Litmus(c.Args().Slice(), con.Checks)
				if err != nil {
					return err
				}
				return action.Import(con.Streams, r, c.String("output"), c.Bool("force"))
			},
		},
		{
			Name: "bigbrother", ArgsUsage: "FILE...",
			Usage: "import big_brother's YAML, with virtual IPs from --vip or the firewall's rules", Description: importBigBrotherHelp,
			Flags: addressFlags(vips),
			Action: func(c *cli.Context) error {
				if err := cmdline.Arguments(c, 1, anyNumber); err != nil {
					return err
				}
				addresses := importer.Addresses{VIPs: vips.vips, IPTables: c.String("iptables")}
				r, err := importer.BigBrother(c.Args().Slice(), addresses, con.Checks)
				if err != nil {
					return err
				}
				return action.Import(con.Streams, r, c.String("output"), c.Bool("force"))
			},
		},
	}
}

func (con Console) pacemakerCommands() []*cli.Command {
	return []*cli.Command{{
		Name: "pacemaker", ArgsUsage: "[CLUSTER...]", HideHelpCommand: true,
		Usage: "print Pacemaker's configuration: for each cluster a clone, and a group of its virtual IPs", Description: pacemakerHelp,
		Flags: []cli.Flag{&cli.StringFlag{Name: "as", Value: "crm", Usage: "`FORM`: crm, pcs or xml"}},
		Action: con.onConfig(count{0, anyNumber}, func(c *cli.Context, cfg *config.Config) error {
			return action.Pacemaker(con.Streams, cfg, c.String("as"), c.Args().Slice())
		}),
		Subcommands: []*cli.Command{{
			Name: "status", ArgsUsage: "[CLUSTER...]",
			Usage:       "compare where Pacemaker, lb balance and this machine's kernel run each cluster, with a fix for each difference",
			Description: pacemakerStatusHelp,
			Flags:       balancerFlags(jsonFlag()),
			Action: con.onBalancer(count{0, anyNumber}, func(c *cli.Context, balancer *client.Client) error {
				views, err := action.PacemakerViews(c.Context, action.ViewSources{
					ConfigPath: c.String("config"), Load: con.Load, Balancer: balancer, OpenTable: con.OpenTable,
				})
				if err != nil {
					return err
				}
				return action.PacemakerStatus(con.Out, views, c.Args().Slice(), con.format(c))
			}),
		}},
	}}
}

// AgentCommands are the subcommands of lb agent. They need no running agent.
func (con Console) AgentCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "check", ArgsUsage: "SERVICE",
			Usage: "run a service's checks once and show each result and the resulting health", Description: checkHelp,
			Flags: []cli.Flag{jsonFlag()},
			Action: con.onConfig(count{1, 1}, func(c *cli.Context, cfg *config.Config) error {
				return action.Check(c.Context, con.Out, cfg, c.Args().First(), con.format(c))
			}),
		},
		{
			Name:  "tunnel",
			Usage: "set up this machine to receive packets from the balancer's tunnel, or undo that", Description: tunnelHelp,
			Flags: []cli.Flag{&cli.BoolFlag{Name: "undo", Usage: "remove what was set up"}},
			Action: con.onConfig(count{0, 0}, func(c *cli.Context, cfg *config.Config) error {
				if c.Bool("undo") {
					return action.TunnelDown(c.Context, con.Out, cfg)
				}
				return action.TunnelUp(c.Context, con.Out, cfg)
			}),
		},
	}
}

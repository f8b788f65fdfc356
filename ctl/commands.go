package ctl

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/netx/ipvs"
)

// Console is what the commands read and write.
type Console struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Plain  bool // Out is no terminal
	Getenv func(string) string
	Load   config.Loader // of check-config
	// OpenTable opens the kernel's load-balancing table, for pacemaker status.
	OpenTable func() (ipvs.Table, error)
	Checks    config.CheckValidator // of import

	// Litmusctl: this is called by litmus_paper's name. An empty reason that is given is then taken, as scripts do that.
	Litmusctl bool
}

// The flags that several commands share. Each call makes new ones: urfave/cli keeps state in them.
func agentFlags(further ...cli.Flag) []cli.Flag {
	address := &cli.StringFlag{Name: "agent", Usage: "`ADDR` of the agent: host:port or the path of its socket (default: the config's)"}
	return append(append([]cli.Flag{address}, further...), proofFlags()...)
}

func balancerFlags(further ...cli.Flag) []cli.Flag {
	address := &cli.StringFlag{Name: "balancer", Usage: "`ADDR` of the balancer: host:port or the path of its socket (default: the config's)"}
	return append(append([]cli.Flag{address}, further...), proofFlags()...)
}

// proofFlags are what is shown to a daemon at host:port, so that it takes changes.
func proofFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "token-file", EnvVars: []string{"LB_TOKEN_FILE"}, Usage: "`FILE` with the token of the daemon at host:port"},
		&cli.StringFlag{Name: "ca-file", EnvVars: []string{"LB_CA_FILE"}, Usage: "`FILE` with the CA of its certificate; with it, TLS is spoken"},
		&cli.StringFlag{Name: "cert-file", EnvVars: []string{"LB_CERT_FILE"}, Usage: "`FILE` with your certificate, to make changes by"},
		&cli.StringFlag{Name: "key-file", EnvVars: []string{"LB_KEY_FILE"}, Usage: "`FILE` with the private key of your certificate"},
	}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON, for programs"}
}

// ServiceCommands are those of the agent's services, which litmusctl has too.
func ServiceCommands(con Console) []*cli.Command {
	return []*cli.Command{con.list(), con.status(), con.force()}
}

// Commands are all of the operator's commands.
func Commands(con Console) []*cli.Command {
	return append(ServiceCommands(con), con.cluster(), con.why(), con.events(), con.plan(), con.reload(), con.drain(), con.undrain(), con.drains(), con.checkConfig(), con.exampleConfig(),
		con.importConfig(), con.pacemaker(), con.doctor())
}

func (con Console) list() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the services of this app node: reported and measured health, and what is forced",
		Flags: agentFlags(jsonFlag()),
		Description: `Examples:
  lb ctl list
  lb ctl list --agent app02:9293
  lb ctl list --json`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			agent, err := con.agent(c)
			if err != nil {
				return err
			}
			return List(c.Context, con.Out, agent, con.look(c))
		},
	}
}

func (con Console) status() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show the health of one service and what it is made of",
		ArgsUsage: "SERVICE",
		Flags:     agentFlags(jsonFlag()),
		Description: `Exit status: 0 the service is up, 1 it is down, 2 the agent does not know it.

Examples:
  lb ctl status webapp
  lb ctl status webapp --json
  lb ctl status webapp >/dev/null && echo up`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 1, 1, "which service? lb ctl status SERVICE"); err != nil {
				return err
			}
			agent, err := con.agent(c)
			if err != nil {
				return err
			}
			return Status(c.Context, con.Out, agent, c.Args().First(), con.look(c))
		},
	}
}

func (con Console) force() *cli.Command {
	return &cli.Command{
		Name:      "force",
		Usage:     "force a service, or all of them, down, up, or to a health at most",
		ArgsUsage: "down|up|health N [SERVICE]",
		Flags: agentFlags(
			&cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: "`WHY`, for the next person who looks; asked for when it is not given"},
			&cli.StringFlag{Name: "for", Usage: "`TIME` after which the force ends by itself: 90m, 2h, 3d (default: it stays until it is deleted)"},
			&cli.BoolFlag{Name: "delete", Aliases: []string{"d"}, Usage: "take the force back"},
		),
		Description: `Without a service, every service of this app node is forced. A force stays until it is deleted or its
time (--for) is over, also over a restart. Each is written to audit.log in the agent's data_dir.

Examples:
  lb ctl force down webapp -r "apt upgrades"
  lb ctl force down webapp -d
  lb ctl force down webapp --for 2h -r "new disks"
  lb ctl force health 42 webapp -r "half of the disks are gone"
  lb ctl force health webapp -d
  lb ctl force down -r "moving to another rack"
  lb ctl force down webapp -r "apt upgrades" --agent app02:9293 --token-file ~/.lb-token`,
		Action: con.runForce,
	}
}

func (con Console) runForce(c *cli.Context) error {
	f, err := ParseForce(c.Args().Slice(), c.Bool("delete"))
	if err != nil {
		return err
	}
	agent, err := con.agent(c)
	if err != nil {
		return err
	}
	f.Who = Who(con.Getenv)
	f.Reason, f.For = c.String("reason"), c.String("for")
	if f.Delete && f.For != "" {
		return usage.Errorf("--for says how long a force is to last; with -d it ends now")
	}
	given := con.Litmusctl && c.IsSet("reason")
	if !f.Delete && !given && CleanReason(f.Reason) == "" {
		if f.Reason, err = AskReason(con.In, con.Out, "forced"); err != nil {
			return err
		}
	}
	return f.Do(c.Context, con.Out, agent)
}

func (con Console) cluster() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "list, show, start or stop the clusters of this load balancer",
		Description: `Examples:
  lb ctl cluster list
  lb ctl cluster status webapp
  lb ctl cluster start webapp`,
		HideHelpCommand: true,
		Subcommands: []*cli.Command{
			con.clusterList(),
			con.clusterCommand("status", "show a cluster's nodes: health, weight, the kernel's weight and connections, and why",
				balancerFlags(jsonFlag()),
				func(c *cli.Context, b *client.Client, name string) error {
					return ClusterStatus(c.Context, con.Out, b, name, con.look(c))
				}),
			con.clusterCommand("start", "put a cluster into the kernel; well also when it runs already", balancerFlags(),
				func(c *cli.Context, b *client.Client, name string) error {
					return ClusterSwitch(c.Context, con.Out, b, name, true)
				}),
			con.clusterCommand("stop", "take a cluster out of the kernel, and its connections with it", balancerFlags(),
				func(c *cli.Context, b *client.Client, name string) error {
					return ClusterSwitch(c.Context, con.Out, b, name, false)
				}),
		},
	}
}

func (con Console) clusterList() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the clusters, running and stopped",
		Flags: balancerFlags(jsonFlag()),
		Description: `Examples:
  lb ctl cluster list
  lb ctl cluster list --json`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			return ClusterList(c.Context, con.Out, b, con.look(c))
		},
	}
}

// clusterCommand makes a command that takes the name of one cluster.
func (con Console) clusterCommand(name, usage string, flags []cli.Flag, do func(*cli.Context, *client.Client, string) error) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       usage,
		ArgsUsage:   "CLUSTER",
		Flags:       flags,
		Description: "Examples:\n  lb ctl cluster " + name + " webapp",
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 1, 1, "which cluster? lb ctl cluster "+name+" CLUSTER"); err != nil {
				return err
			}
			b, err := con.balancer(c)
			if err != nil {
				return err
			}
			return do(c, b, c.Args().First())
		},
	}
}

func (con Console) checkConfig() *cli.Command {
	return &cli.Command{
		Name:      "check-config",
		Usage:     "check the configuration: every mistake at once, with its place and its mend",
		ArgsUsage: "[FILE]",
		Description: `Exit status: 0 it is good (there may be warnings), 78 it has mistakes.

Examples:
  lb ctl check-config
  lb ctl check-config ./lb.toml && systemctl reload lb-balance`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 1, ""); err != nil {
				return err
			}
			path := c.String("config")
			if c.NArg() == 1 {
				path = c.Args().First()
			}
			return CheckConfig(con.Out, con.Err, con.Load, path)
		},
	}
}

func (con Console) exampleConfig() *cli.Command {
	return &cli.Command{
		Name:  "example-config",
		Usage: "print an annotated configuration to start from: every key with its default",
		Description: `Examples:
  lb ctl example-config >/etc/lb/lb.toml`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			_, err := io.WriteString(con.Out, config.Example)
			return err
		},
	}
}

// look reads how to show an answer from the flags.
func (con Console) look(c *cli.Context) Look {
	return Look{JSON: c.Bool("json"), Plain: con.Plain || con.Getenv("NO_COLOR") != ""}
}

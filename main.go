// Command lb keeps a service up: health on every app node, weights in the kernel's load balancer that follow it, and a resource
// agent by which a cluster manager moves it all. See README.md.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/braintree/lb/agent"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/balancer"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/daemon"
	"github.com/braintree/lb/ctl/exit"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/demo"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/systemd"
	"github.com/braintree/lb/netx/tunnel"
	"github.com/braintree/lb/ocf"
)

// process is what a run of lb gets from the system.
type process struct {
	args []string // with the name that lb was called by in front
	in   io.Reader
	out  io.Writer
	err  io.Writer
	// width gives the columns of the terminal that out is; it is nil when out is none.
	width func() int
	env   []string
}

func main() {
	os.Exit(run(process{args: os.Args, in: os.Stdin, out: os.Stdout, err: os.Stderr, width: terminalWidth(os.Stdout), env: os.Environ()}))
}

// terminalWidth returns how to ask for the columns of the terminal that f is; nil when it is none.
func terminalWidth(f *os.File) func() int {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return nil
	}
	return func() int {
		width, _, err := term.GetSize(fd)
		if err != nil {
			return 0 // not known
		}
		return width
	}
}

// run does what the name and the arguments of the process ask for and returns its exit status.
func run(p process) int {
	name, words := "lb", []string(nil)
	if len(p.args) > 0 {
		name, words = filepath.Base(p.args[0]), p.args[1:]
	}
	var app *cli.App
	switch name {
	case "bigbrother", "ocf_big_brother":
		return resourceAgent(context.Background(), p, p.env, words) // a cluster manager calls it every few seconds: build no command line
	case "litmusctl":
		app = p.litmusctl()
	case "litmus":
		app, words = p.lb(), append([]string{"agent"}, words...)
	case "bigbro":
		app, words = p.lb(), append([]string{"balance"}, words...)
	default:
		app = p.lb()
	}
	app.Writer, app.ErrWriter = p.out, p.err
	err := cmdline.Run(context.Background(), app, words)
	exit.Report(p.err, err)
	if name == "litmusctl" {
		return exit.OfLitmusctl(err)
	}
	return exit.Status(err)
}

// lb is the whole program.
func (p process) lb() *cli.App {
	return &cli.App{
		Name:  "lb",
		Usage: "keeps a service up: health of app nodes, weights in IPVS, and a resource agent for Pacemaker",
		Description: `Examples:
  lb agent                                     run on each app node
  lb balance                                   run on each load balancer
  lb ctl force down webapp -r "apt upgrades"   take this node out of rotation
  lb ctl cluster status webapp                 see weights and why they are so

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
				Usage:       "print the version, and what it was built with",
				Description: "Examples:\n  lb version",
				Action: func(c *cli.Context) error {
					if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
						return err
					}
					return p.printVersion()
				},
			},
		},
	}
}

// litmusctl is what litmus_paper's operators type.
func (p process) litmusctl() *cli.App {
	con := p.console()
	con.Litmusctl = true
	return &cli.App{
		Name:        "litmusctl",
		Usage:       "lists and forces the services of this app node (lb ctl, under litmus_paper's name)",
		Description: exit.LitmusctlStatuses,
		Flags:       []cli.Flag{configFlag()},
		Commands:    ctl.ServiceCommands(con),
	}
}

// commonFlags are those of every command.
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
		Usage: "`FILE` that all modes share",
	}
}

func (p process) console() ctl.Console {
	return ctl.Console{In: p.in, Out: p.out, Err: p.err, Plain: p.width == nil, Getenv: p.getenv, Load: load, OpenTable: openTable, Checks: check.Validate}
}

// getenv returns the value of a variable of the environment.
func (p process) getenv(key string) string {
	for _, pair := range slices.Backward(p.env) {
		if k, value, _ := strings.Cut(pair, "="); k == key {
			return value
		}
	}
	return ""
}

// load reads the configuration, with the options of its checks judged by the checks themselves.
func load(path string) (*config.Config, error) { return config.Load(path, check.Validate) }

// agent is the daemon of an app node.
func (p process) agent() *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "measure the health of this app node's services and tell it over HTTP",
		Description: `SIGHUP reads the configuration again; SIGTERM and SIGINT end it.

Examples:
  lb agent
  lb agent -c ./lb.toml --log-level debug
  lb agent check webapp
  lb agent tunnel --undo`,
		Action: func(c *cli.Context) error {
			return p.daemon(c, func(ctx context.Context, r running) error {
				sockets, err := listen.InheritSockets()
				if err != nil {
					return err
				}
				setup := tunnel.New(r.cfg.Agent.TunnelDir(), r.log)
				a, err := agent.New(ctx, agent.Options{
					Load: r.load, Reload: r.reload, Log: r.log, Version: version(), Manager: r.manager, Sockets: sockets,
					Tunnel: func(ctx context.Context, want tunnel.Desired) error {
						_, err := setup.Up(ctx, want)
						return err
					},
				})
				if err != nil {
					return err
				}
				return a.Run(ctx)
			})
		},
		Subcommands: []*cli.Command{ctl.CheckCommand(p.console()), ctl.TunnelCommand(p.console())},
	}
}

// balance is the daemon of a load balancer.
func (p process) balance() *cli.Command {
	return &cli.Command{
		Name:  "balance",
		Usage: "follow the health of each cluster's nodes with the weights in the kernel's load balancer",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "ask every node once, print what would change, and change nothing"}},
		Description: `SIGHUP reads the configuration again, as lb ctl reload does; SIGTERM and SIGINT end it and leave the kernel as it is.

Examples:
  lb balance -c ./lb.toml --log-level debug
  lb balance --dry-run`,
		Action: func(c *cli.Context) error {
			return p.daemon(c, func(ctx context.Context, r running) error {
				daemon.Spare(r.cfg.Clusters)
				table, err := openTable()
				if err != nil {
					return err
				}
				defer table.Close()
				figures, err := openTable() // a handle of its own, so that reading the status never delays a weight
				if err != nil {
					return err
				}
				defer figures.Close()
				marks, err := mark.NewKernel()
				if err != nil {
					return err
				}
				defer marks.Close()
				o := balancer.Options{
					Load: r.load, Checks: check.Validate, Reload: r.reload, Table: table, Figures: figures, Marks: marks, Settings: ipvs.KernelSysctls, Log: r.log, Version: version(),
					Manager: r.manager, Lock: balancer.Lock,
				}
				if c.Bool("dry-run") {
					return balancer.DryRun(ctx, o, p.out)
				}
				b, err := balancer.New(ctx, o)
				if err != nil {
					return err
				}
				return b.Run(ctx)
			})
		},
	}
}

// running is what both daemons work with.
type running struct {
	cfg     *config.Config // as it is at the start
	load    func() (*config.Config, error)
	reload  <-chan struct{}
	log     *slog.Logger
	manager *systemd.Notifier
}

// daemon runs a daemon until a signal ends it.
func (p process) daemon(c *cli.Context, do func(context.Context, running) error) error {
	if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
		return err
	}
	log, err := daemon.Log(p.err, c.String("log-level"), c.String("log-format"))
	if err != nil {
		return err
	}
	manager, err := systemd.New(log)
	if err != nil {
		return err
	}
	path := c.String("config")
	return daemon.Until(c.Context, func(ctx context.Context, reload <-chan struct{}) error {
		cfg, err := load(path) // before the kernel is looked at: without privilege this can be mended, too
		if err != nil {
			return err
		}
		return do(ctx, running{cfg: cfg, load: func() (*config.Config, error) { return load(path) }, reload: reload, log: log, manager: manager})
	})
}

// ctl is the operator's tool.
func (p process) ctl() *cli.Command {
	return &cli.Command{
		Name:  "ctl",
		Usage: "the operator's tool: services, clusters, drains, what happened, and the configuration",
		Description: `Examples:
  lb ctl list
  lb ctl force down webapp -r "apt upgrades"
  lb ctl why webapp 10.0.0.2
  lb ctl drain webapp 10.0.0.2 -r "new disks" --for 2h --wait 5m
  lb ctl events --follow
  lb ctl import bigbrother /etc/big_brother.conf --vip webapp=203.0.113.7:443
  lb ctl pacemaker | crm configure load update -`,
		Subcommands: ctl.Commands(p.console()),
	}
}

// ocf is the resource agent under a name of lb's own.
func (p process) ocf() *cli.Command {
	return &cli.Command{
		Name:      "ocf",
		Usage:     "resource agent for Pacemaker; also as a link named bigbrother",
		ArgsUsage: "ACTION",
		Description: `Installed as the link /usr/lib/ocf/resource.d/braintree/bigbrother. Its parameters come in the environment; lb ocf usage lists them.

Examples:
  OCF_RESKEY_cluster=webapp lb ocf monitor
  lb ocf meta-data`,
		Action: func(c *cli.Context) error {
			env := p.env
			if c.IsSet("config") {
				env = append([]string{"OCF_RESKEY_config=" + c.String("config")}, env...) // what the environment has counts more
			}
			if status := resourceAgent(c.Context, p, env, c.Args().Slice()); status != exit.Done {
				return exit.Code(status)
			}
			return nil
		},
	}
}

// resourceAgent carries out an OCF action and returns its exit status.
func resourceAgent(ctx context.Context, p process, env, words []string) int {
	return ocf.ThisMachine(openTable, load).Run(ctx, words, env, p.out, p.err)
}

// demo shows the talk live.
func (p process) demo() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "play the talk live on this machine's kernel, in network namespaces that are gone afterwards",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "step", Usage: "go on to the next scene by the Enter key"},
			&cli.BoolFlag{Name: "logs", Usage: "show what the daemons log, on standard error"},
		},
		Description: `Needs root and a kernel with IPVS; scripts/demo brings its own in a virtual machine where this one has none.

Examples:
  lb demo
  lb demo --step`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 0, 0, ""); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find lb's own file: %w", err)
			}
			o := demo.Options{Binary: binary, Out: p.out, Width: p.width}
			if c.Bool("step") {
				o.Keys = demo.Keys(p.in)
			}
			if c.Bool("logs") {
				o.Logs = p.err
			}
			return daemon.Until(c.Context, func(ctx context.Context, _ <-chan struct{}) error { return demo.Run(ctx, o) })
		},
	}
}

// openTable opens the kernel's load-balancing table.
func openTable() (ipvs.Table, error) {
	table, err := ipvs.NewKernel()
	if err != nil {
		return nil, err
	}
	return table, nil
}

// printVersion prints what this file is.
func (p process) printVersion() error {
	_, err := fmt.Fprintf(p.out, "lb %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the version that Go stamped into this file: a tag, a commit's time and hash, or (devel).
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

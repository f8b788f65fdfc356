// Command lb keeps a service up on plain Linux: it measures the health of app nodes, makes the weights in the kernel's load balancer
// follow it, and has a resource agent for a cluster manager. See README.md.
package main

import (
	"context"
	"fmt"
	"io"
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
	"github.com/braintree/lb/ctl/action"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/daemon"
	"github.com/braintree/lb/ctl/exit"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/demo"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/machine"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/tunnel"
	"github.com/braintree/lb/ocf"
)

// process is what a run of lb gets from the system.
type process struct {
	args []string // args[0] is the name that lb was called by
	in   io.Reader
	out  io.Writer
	err  io.Writer
	// width returns the columns of the terminal that out is; nil: out is not a terminal.
	width func() int
	env   []string
}

func main() {
	os.Exit(run(process{
		args:  os.Args,
		in:    os.Stdin,
		out:   os.Stdout,
		err:   os.Stderr,
		width: terminalWidth(os.Stdout),
		env:   os.Environ(),
	}))
}

// terminalWidth returns a function that gives the columns of the terminal f, 0 if unknown; nil if f is not a terminal.
func terminalWidth(f *os.File) func() int {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return nil
	}
	return func() int {
		width, _, err := term.GetSize(fd)
		if err != nil {
			return 0
		}
		return width
	}
}

// run runs the program that the process's name and arguments select, and returns the exit status.
func run(p process) int {
	name, words := "lb", []string(nil)
	if len(p.args) > 0 {
		name, words = filepath.Base(p.args[0]), p.args[1:]
	}
	var app *cli.App
	switch name {
	case "bigbrother", "ocf_big_brother":
		return p.resourceAgent(context.Background(), p.env, words) // called every few seconds: build no command table
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
		return exit.LitmusctlStatus(err)
	}
	return exit.Status(err)
}

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
			return p.runDaemon(c, func(ctx context.Context, e daemon.Env) error {
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

// runDaemon runs a daemon as the options of its command line say.
func (p process) runDaemon(c *cli.Context, run func(context.Context, daemon.Env) error) error {
	if err := cmdline.Arguments(c, 0, 0); err != nil {
		return err
	}
	log, err := daemon.NewLogger(p.err, c.String("log-level"), c.String("log-format"))
	if err != nil {
		return err
	}
	return daemon.Run(c.Context, log, func() (*config.Config, error) { return loadConfig(c.String("config")) }, run)
}

func runAgent(ctx context.Context, e daemon.Env) error {
	sockets, err := listen.InheritSockets()
	if err != nil {
		return err
	}
	a, err := agent.New(ctx, agent.Options{
		Load: e.Load, Reload: e.Reload, Log: e.Log, Version: version(), Manager: e.Manager, Sockets: sockets,
		Tunnel: tunnel.New(e.Config.Agent.TunnelDir(), e.Log),
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// runBalancer runs the daemon or, if dryRun is not nil, writes to it what a start would change.
func runBalancer(ctx context.Context, e daemon.Env, dryRun io.Writer) error {
	daemon.TuneRuntime(e.Config.Clusters)
	table, err := openTable()
	if err != nil {
		return err
	}
	defer table.Close()
	figures, err := openTable() // its own handle, so that reading the status never delays a weight
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
		Load: e.Load, Checks: check.Validate, Reload: e.Reload, Table: table, Figures: figures, Marks: marks,
		Settings: ipvs.KernelSysctls, Log: e.Log,
		Version: version(), Manager: e.Manager, Lock: balancer.Lock,
	}
	if dryRun != nil {
		return balancer.DryRun(ctx, o, dryRun)
	}
	if o.Network, err = machine.NewWatcher(e.Log); err != nil {
		return err
	}
	b, err := balancer.New(ctx, o)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// resourceAgent carries out an OCF action and returns its exit status.
func (p process) resourceAgent(ctx context.Context, env, words []string) int {
	return ocf.New(openTable, loadConfig).Run(ctx, words, env, p.out, p.err)
}

func (p process) console() ctl.Console {
	return ctl.Console{
		Streams:  action.Streams{In: p.in, Out: p.out, Err: p.err},
		Terminal: p.width != nil, Getenv: p.getenv, Load: loadConfig, Checks: check.Validate, OpenTable: openTable, Version: version(),
	}
}

// getenv returns the value of an environment variable. Of several, the last counts.
func (p process) getenv(key string) string {
	for _, pair := range slices.Backward(p.env) {
		if k, value, _ := strings.Cut(pair, "="); k == key {
			return value
		}
	}
	return ""
}

// loadConfig loads the configuration and validates the options of its checks.
func loadConfig(path string) (*config.Config, error) { return config.Load(path, check.Validate) }

// openTable opens the kernel's IPVS table.
func openTable() (ipvs.Table, error) {
	table, err := ipvs.NewKernel()
	if err != nil {
		return nil, err
	}
	return table, nil
}

func (p process) printVersion() error {
	_, err := fmt.Fprintf(p.out, "lb %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version returns the version that Go stamped into the binary: a tag, a commit's time and hash, or (devel).
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Command lb keeps a service up: health on every app node, weights in the kernel's load balancer that follow it, and a resource
// agent by which a cluster manager moves it all. See README.md.
package main

import (
	"context"
	"errors"
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

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/ocf"
)

// The exit statuses of every command but ocf, which has those of the OCF standard. exitStatuses says what they mean.
const (
	statusDone        = 0
	statusFailed      = 1
	statusRefused     = 2
	statusNoIPVS      = 69
	statusNoPrivilege = 77
	statusMistakes    = 78
)

// exitStatuses is what `lb help` says about them.
const exitStatuses = `Exit status:
    0  done
    1  failed: a daemon cannot be reached, the kernel refuses, or the service is down (ctl status)
    2  refused: wrong usage, or the daemon knows no such thing
   69  this kernel has no IPVS
   77  no privilege
   78  the configuration has mistakes
  (ocf, bigbrother, ocf_big_brother: as the OCF standard says, see lb ocf usage)`

const defaultConfig = "/etc/lb/lb.toml"

// process is what a run of lb gets from the system.
type process struct {
	args []string // with the name that lb was called by in front
	in   io.Reader
	out  io.Writer
	err  io.Writer
	// plain says that out is no terminal.
	plain bool
	env   []string
}

func main() {
	os.Exit(run(process{
		args:  os.Args,
		in:    os.Stdin,
		out:   os.Stdout,
		err:   os.Stderr,
		plain: !term.IsTerminal(int(os.Stdout.Fd())),
		env:   os.Environ(),
	}))
}

// run does what the name and the arguments of the process ask for and returns its exit status.
func run(p process) int {
	name, words := "lb", []string(nil)
	if len(p.args) > 0 {
		name, words = filepath.Base(p.args[0]), p.args[1:]
	}
	app := p.lb()
	switch name {
	case "bigbrother", "ocf_big_brother":
		return p.resourceAgent(context.Background(), words) // a cluster manager calls it every few seconds: no command line is built
	case "litmusctl":
		app = p.litmusctl()
	}
	err := p.cli(app, words)
	if err == nil {
		return statusDone
	}
	p.report(err)
	return exitStatus(err)
}

// cli runs a command line.
func (p process) cli(app *cli.App, words []string) error {
	app.Writer, app.ErrWriter = p.out, p.err
	app.HideVersion = true
	app.HideHelpCommand = true                        // Arrange turns the word into the flag
	app.ExitErrHandler = func(*cli.Context, error) {} // only main ends the process
	words, err := cmdline.Arrange(cmdline.Tree(app), words)
	if err != nil {
		return err
	}
	refuse := func(_ *cli.Context, err error, _ bool) error { return cmdline.Usagef("%v", err) }
	app.OnUsageError = refuse
	everyCommand(app.Commands, func(c *cli.Command) {
		c.HideHelpCommand = true
		c.OnUsageError = refuse
	})
	return app.RunContext(context.Background(), append([]string{app.Name}, words...))
}

// everyCommand calls do for each command, also below others.
func everyCommand(commands []*cli.Command, do func(*cli.Command)) {
	for _, c := range commands {
		do(c)
		everyCommand(c.Subcommands, do)
	}
}

// exitStatus maps an error to the status that says what kind it is.
func exitStatus(err error) int {
	var (
		usage    *cmdline.UsageError
		refused  *ctl.RefusedError
		mistakes config.Mistakes
	)
	var status ocfStatus
	switch {
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage), errors.As(err, &refused):
		return statusRefused
	case errors.As(err, &mistakes):
		return statusMistakes
	case errors.Is(err, netx.ErrNoIPVS):
		return statusNoIPVS
	case errors.Is(err, netx.ErrNoPrivilege):
		return statusNoPrivilege
	}
	return statusFailed
}

// report tells the operator what went wrong, once.
func (p process) report(err error) {
	var mistakes config.Mistakes
	switch {
	case errors.Is(err, ctl.ErrDown), errors.As(err, new(ocfStatus)):
		// what was printed says so
	case errors.As(err, &mistakes) && len(mistakes) > 1:
		fmt.Fprintf(p.err, "lb: the configuration has %d mistakes:\n", len(mistakes))
		for _, m := range mistakes {
			fmt.Fprintf(p.err, "  %s\n", m)
		}
	default:
		fmt.Fprintf(p.err, "lb: %v\n", err)
	}
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

` + exitStatuses,
		Flags: append(commonFlags(), &cli.BoolFlag{Name: "version", Usage: "print the version"}),
		Action: func(c *cli.Context) error {
			if c.Bool("version") {
				return p.version()
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			p.ctl(),
			p.ocf(),
			{
				Name:        "version",
				Usage:       "print the version, and what it was built with",
				Description: "Examples:\n  lb version",
				Action:      func(*cli.Context) error { return p.version() },
			},
		},
	}
}

// litmusctl is what litmus_paper's operators type.
func (p process) litmusctl() *cli.App {
	return &cli.App{
		Name:        "litmusctl",
		Usage:       "lists and forces the services of this app node (lb ctl, under litmus_paper's name)",
		Description: exitStatuses,
		Flags:       []cli.Flag{configFlag()},
		Commands:    ctl.ServiceCommands(p.console()),
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
		Name: "config", Aliases: []string{"c"}, Value: defaultConfig, EnvVars: []string{"LB_CONFIG"},
		Usage: "`FILE` that all modes share",
	}
}

func (p process) console() ctl.Console {
	return ctl.Console{In: p.in, Out: p.out, Err: p.err, Plain: p.plain, Getenv: p.getenv, Load: load}
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

// ctl is the operator's tool.
func (p process) ctl() *cli.Command {
	return &cli.Command{
		Name:  "ctl",
		Usage: "show and force services, show, start and stop clusters",
		Description: `Examples:
  lb ctl list
  lb ctl force down webapp -r "apt upgrades"
  lb ctl cluster status webapp`,
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
			if status := p.resourceAgent(c.Context, c.Args().Slice()); status != statusDone {
				return ocfStatus(status)
			}
			return nil
		},
	}
}

// ocfStatus is the exit status of an OCF action that has said already what is wrong.
type ocfStatus int

// Error makes it an error.
func (s ocfStatus) Error() string { return fmt.Sprintf("OCF status %d", int(s)) }

// resourceAgent carries out an OCF action and returns its exit status.
func (p process) resourceAgent(ctx context.Context, words []string) int {
	return ocf.ThisMachine(openTable, load).Run(ctx, words, p.env, p.out, p.err)
}

// openTable opens the kernel's load-balancing table.
func openTable() (ipvs.Table, error) {
	table, err := ipvs.NewKernel()
	if err != nil {
		return nil, err
	}
	return table, nil
}

// version prints what this file is.
func (p process) version() error {
	version, revision := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && !strings.Contains(version, s.Value[:min(12, len(s.Value))]) {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(p.out, "lb %s%s %s %s/%s\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

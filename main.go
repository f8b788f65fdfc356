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

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl"
	"github.com/braintree/lb/ctl/action"
	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/ctl/exit"
	"github.com/braintree/lb/netx/ipvs"
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

// resourceAgent carries out an OCF action and returns its exit status.
func (p process) resourceAgent(ctx context.Context, env, words []string) int {
	return ocf.New(openTable, loadConfig).Run(ctx, words, env, p.out, p.err)
}

func (p process) console() ctl.Console {
	return ctl.Console{
		Streams:  action.Streams{In: p.in, Out: p.out, Err: p.err},
		Terminal: p.width != nil, Getenv: p.getenv, Load: loadConfig, Checks: check.Validate, OpenTable: openTable,
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

package ctl

import (
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/checkrun"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/cmdline"
)

// CheckCommand runs the checks of a service once, without an agent.
func CheckCommand(con Console) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "run a service's checks once, here and now, and show what each finds and the health they give",
		ArgsUsage: "SERVICE",
		Flags:     []cli.Flag{jsonFlag()},
		Description: `For whoever writes the configuration: no agent has to run, and none is asked. The checks run as you: where the agent is another
user, or its unit is hardened, they may find something else there. What is forced does not count.

Exit status: 0 the service would be up, 1 down, 2 the configuration has no such service.

Examples:
  lb agent check webapp
  lb agent check webapp --json -c ./lb.toml`,
		Action: func(c *cli.Context) error {
			if err := cmdline.Arguments(c, 1, 1, "which service? lb agent check SERVICE"); err != nil {
				return err
			}
			cfg, err := con.Load(c.String("config"))
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM) // so that no script is left behind
			defer stop()
			return con.checkOnce(ctx, cfg, c.Args().First(), c.Bool("json"))
		},
	}
}

// checkOnce runs the checks of a service and prints what they find. The error is nil when the service would be up, ErrDown when
// it would be down, and a *client.RefusedError when there is no such service.
func (con Console) checkOnce(ctx context.Context, cfg *config.Config, name string, asJSON bool) error {
	service, ok := cfg.Service(name)
	if !ok {
		return client.NotFound("%s", noService(cfg, name))
	}
	show := con.showResult
	if asJSON {
		show = nil
	}
	report, err := checkrun.Run(ctx, service, check.Host{}, show)
	if err != nil {
		return fmt.Errorf("run the checks of %s: %w", name, err)
	}
	if asJSON {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		fmt.Fprintf(con.Out, "%s\n", text)
	} else {
		fmt.Fprintf(con.Out, "%s would have health %d\n", name, report.Measured)
	}
	if !report.Up() {
		return ErrDown
	}
	return nil
}

// showResult prints a line about a check: what it says, the time that it took, what it is, and why.
func (con Console) showResult(_ config.Role, r checkrun.Result) {
	says := "OK"
	switch {
	case r.Value != nil:
		says = fmt.Sprintf("%d of %d", *r.Value, *r.Weight)
	case !r.OK:
		says = "FAIL"
	}
	fmt.Fprintf(con.Out, "%-10s %7.3fs  %s: %s\n", says, r.Seconds, r.Display, r.Detail)
}

// noService says that a service is not in the configuration, and which are.
func noService(cfg *config.Config, name string) string {
	var names []string
	for _, s := range cfg.Services {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s has no services: add [services.%s] to it", cfg.Path, name)
	}
	return fmt.Sprintf("%s has no service %q: it has %s", cfg.Path, name, strings.Join(names, ", "))
}

package action

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/checkrun"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
)

// Check runs the checks of a service once, without an agent, and prints each result. It returns ErrDown if the service would be down, and
// a *client.RefusedError if the configuration does not have it.
func Check(ctx context.Context, out io.Writer, cfg *config.Config, name string, format Format) error {
	service, ok := cfg.Service(name)
	if !ok {
		return noServiceIn(cfg, name)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM) // so that no script keeps running
	defer stop()
	show := func(_ config.Role, r checkrun.Result) { writeCheckResult(out, r) }
	if format.JSON {
		show = nil
	}
	report, err := checkrun.Run(ctx, service, check.Host{}, show)
	if err != nil {
		return fmt.Errorf("run the checks of %s: %w", name, err)
	}
	if format.JSON {
		err = printJSON(out, report)
	} else {
		_, err = fmt.Fprintf(out, "%s would have health %d\n", name, report.Measured)
	}
	if err == nil && !report.Up() {
		err = ErrDown
	}
	return err
}

// writeCheckResult writes one line about a check: its result, how long it took, the check, and the detail.
func writeCheckResult(out io.Writer, r checkrun.Result) {
	result := "OK"
	switch {
	case r.Value != nil:
		result = fmt.Sprintf("%d of %d", *r.Value, *r.Weight)
	case !r.OK:
		result = "FAIL"
	}
	fmt.Fprintf(out, "%-10s %7.3fs  %s: %s\n", result, r.Seconds, r.Display, r.Detail)
}

func noServiceIn(cfg *config.Config, name string) error {
	var names []string
	for _, s := range cfg.Services {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return client.NotFound("%s has no services: add [services.%s]", cfg.Path, name)
	}
	return client.NotFound("%s has no service %q: its services are %s", cfg.Path, name, strings.Join(names, ", "))
}

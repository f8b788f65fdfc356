package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/program"
	"github.com/braintree/lb/netx/sanitize"
)

// command runs a program for each event. Its arguments come from the config alone, and no shell is involved: anything from outside is
// passed as data, in the environment and on standard input.
type command struct {
	cfg config.Hook
	log *slog.Logger
}

func (c *command) send(ctx context.Context, events []event.Event, deliver deliverFunc) {
	for _, e := range events {
		deliver(ctx, 1, func(ctx context.Context) error { return c.run(ctx, e) })
	}
}

func (c *command) run(ctx context.Context, e event.Event) error {
	input, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	o := program.Command{Argv: c.cfg.Argv, Env: environment(e), Stdin: string(input) + "\n", ContextErr: contextCause(ctx)}.Run(ctx)
	output := sanitize.Line(o.Message(), maxOutput)
	if o.Err != nil {
		return fmt.Errorf("run %s for event %d: %w: output %q", c.cfg.Argv[0], e.Number, o.Err, output)
	}
	c.log.Debug("hook ran", "event", e.Number, "output", output)
	return nil
}

// contextCause replaces the error of a program that the context ended by the context's cause.
func contextCause(ctx context.Context) func(error) error {
	return func(error) error { return context.Cause(ctx) }
}

// environment returns the program's environment: PATH and the event.
func environment(e event.Event) []string {
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, v := range [][2]string{
		{"NUMBER", strconv.FormatUint(e.Number, 10)}, {"TIME", e.Time.Format(time.RFC3339Nano)}, {"EVENT", string(e.Kind)},
		{"TEXT", e.Text}, {"CLUSTER", e.Cluster}, {"MARK", strconv.FormatUint(uint64(e.Mark), 10)}, {"NODE", e.Node},
		{"OLD", e.Old}, {"NEW", e.New}, {"CHANGE", e.Change}, {"CAUSE", e.Cause}, {"ERR", e.Err},
	} {
		env = append(env, "LB_"+v[0]+"="+v[1])
	}
	return env
}

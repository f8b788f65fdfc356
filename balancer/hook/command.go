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

// command runs a program for each event. Its arguments are those of the config alone, and no shell is in between: what comes from
// outside is in the environment and on standard input, where it is data.
type command struct {
	cfg config.Hook
	log *slog.Logger
}

func (c *command) take(ctx context.Context, events []event.Event, deliver deliver) {
	for _, e := range events {
		deliver(ctx, 1, func(ctx context.Context) error { return c.run(ctx, e) })
	}
}

func (c *command) run(ctx context.Context, e event.Event) error {
	input, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%w: %w", errUseless, err)
	}
	o := program.Command{Argv: c.cfg.Argv, Env: environment(e), Stdin: string(input) + "\n", ContextErr: ended(ctx)}.Run(ctx)
	said := sanitize.Line(o.Message(), maxSaid)
	if o.Err != nil {
		return fmt.Errorf("run %s for event %d: %w: it printed %q", c.cfg.Argv[0], e.Number, o.Err, said)
	}
	c.log.Debug("a hook ran", "event", e.Number, "printed", said)
	return nil
}

// ended words the end of a context by its cause.
func ended(ctx context.Context) func(error) error {
	return func(error) error { return context.Cause(ctx) }
}

// environment is what the program gets: PATH, and the event.
func environment(e event.Event) []string {
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, v := range [][2]string{
		{"NUMBER", strconv.FormatUint(e.Number, 10)}, {"TIME", e.Time.Format(time.RFC3339Nano)}, {"EVENT", string(e.Kind)}, {"TEXT", e.Text},
		{"CLUSTER", e.Cluster}, {"MARK", strconv.FormatUint(uint64(e.Mark), 10)}, {"NODE", e.Node}, {"OLD", e.Old}, {"NEW", e.New},
		{"CHANGE", e.Change}, {"CAUSE", e.Cause}, {"ERR", e.Err},
	} {
		env = append(env, "LB_"+v[0]+"="+v[1])
	}
	return env
}

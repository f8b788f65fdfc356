package check

import (
	"context"
	"fmt"
	"time"

	"github.com/braintree/lb/config"
)

// script is a dependency on a command that exits with status 0.
type script struct {
	noFloor
	command command
	timeout time.Duration
}

func newScript(c config.Check, _ Host) Check {
	return script{command: decodeCommand(c.Options), timeout: c.Timeout}
}

func (s script) Run(ctx context.Context) Result {
	out := s.command.run(ctx, s.timeout)
	if out.Err != nil {
		return failed("%v: %s", out.Err, out.detail())
	}
	return passed("exit status 0: %s", out.detail())
}

func (s script) Display() string { return fmt.Sprintf("Dependency::Script(%s)", s.command.show) }

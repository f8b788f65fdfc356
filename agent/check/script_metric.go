package check

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// The scales of a script's number.
const (
	percent  = "percent"  // 0 to 100
	fraction = "fraction" // 0 to 1, as in litmus_paper
)

// scriptMetric is a metric for which a command prints the share of the weight. A command that fails, or
// prints anything but one number on the scale, contributes 0.
type scriptMetric struct {
	noFloor
	command command
	scale   string
	weight  int
	timeout time.Duration
}

func newScriptMetric(c config.Check, _ Host) Check {
	m := scriptMetric{command: decodeCommand(c.Options), scale: c.Options.String("scale", percent), weight: c.Weight, timeout: c.Timeout}
	if m.scale != percent && m.scale != fraction {
		c.Options.Invalid("scale", fmt.Sprintf("%q is not a scale", sanitize.Line(m.scale, 40)),
			`use "percent" (0 to 100, the default) or "fraction" (0 to 1)`)
	}
	return m
}

func (m scriptMetric) Run(ctx context.Context) Result {
	out := m.command.run(ctx, m.timeout)
	if out.Err != nil {
		return failed("%v: %s", out.Err, out.detail())
	}
	share, err := parseShare(out.Stdout, m.scale)
	if err != nil {
		return failed("%v: %s", err, out.detail())
	}
	return measured(float64(m.weight)*share, m.weight, "printed %s", out.Stdout)
}

// parseShare reads the output of a script as a share from 0 to 1.
func parseShare(stdout, scale string) (float64, error) {
	top := 100.0
	if scale == fraction {
		top = 1
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(stdout), 64)
	switch {
	case err != nil || math.IsNaN(n):
		return 0, errors.New("its output is not a single number")
	case n < 0 || n > top:
		return 0, fmt.Errorf("its output is not between 0 and %g (scale %q)", top, scale)
	}
	return n / top, nil
}

func (m scriptMetric) Display() string {
	return fmt.Sprintf("Metric::Script(%s, %d)", m.command.show, m.weight)
}

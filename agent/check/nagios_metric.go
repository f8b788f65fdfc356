package check

import (
	"context"
	"fmt"
	"time"

	"github.com/braintree/lb/config"
)

// Default share of the weight that a metric contributes, in percent.
const (
	defaultWarningShare  = 50
	defaultCriticalShare = 0
)

// nagiosMetric is a metric on a Nagios plugin: OK contributes the full weight, WARNING and CRITICAL a share
// of it. UNKNOWN means that the plugin could not measure.
type nagiosMetric struct {
	noFloor
	command  command
	warning  int // percent
	critical int // percent, not above warning
	weight   int
	timeout  time.Duration
}

func newNagiosMetric(c config.Check, _ Host) Check {
	o := c.Options
	n := nagiosMetric{
		command:  decodeCommand(o),
		warning:  o.Int("warning", defaultWarningShare, 0, 100),
		critical: o.Int("critical", defaultCriticalShare, 0, 100),
		weight:   c.Weight,
		timeout:  c.Timeout,
	}
	if n.critical > n.warning {
		o.Invalid("critical", fmt.Sprintf("is above warning, which is %d", n.warning), "give CRITICAL the smaller percentage of the weight")
	}
	return n
}

func (n nagiosMetric) Run(ctx context.Context) Result {
	status, output, err := n.command.nagios(ctx, n.timeout)
	switch {
	case err != nil:
		return failed("%v: %s", err, output)
	case status == nagiosUnknown:
		return failed("%s: %s", nagiosName(status), output)
	}
	return measured(float64(n.weight*n.share(status))/100, n.weight, "%s: %s", nagiosName(status), output)
}

// share is the percentage of the weight that a status contributes.
func (n nagiosMetric) share(status int) int {
	switch status {
	case nagiosOK:
		return 100
	case nagiosWarning:
		return n.warning
	}
	return n.critical
}

func (n nagiosMetric) Display() string {
	return fmt.Sprintf("Metric::Nagios(%s, %d)", n.command.show, n.weight)
}

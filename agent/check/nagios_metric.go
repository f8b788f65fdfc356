package check

import (
	"context"
	"fmt"
	"time"

	"github.com/braintree/lb/config"
)

// The share of its weight that a metric on a plugin gives, in percent, where the configuration does not say.
const (
	defaultWarningShare  = 50
	defaultCriticalShare = 0
)

// nagiosMetric is a metric on a Nagios plugin: OK gives the whole weight, WARNING and CRITICAL a share of it. UNKNOWN is a plugin
// that could not measure, so the metric could not either.
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
		o.Invalid("critical", fmt.Sprintf("is above warning, which is %d", n.warning), "give CRITICAL the smaller share of the weight, in percent")
	}
	return n
}

func (n nagiosMetric) Run(ctx context.Context) Result {
	status, said, err := n.command.nagios(ctx, n.timeout)
	switch {
	case err != nil:
		return bad("%v: %s", err, said)
	case status == nagiosUnknown:
		return bad("%s: %s", nagiosWord(status), said)
	}
	return measured(float64(n.weight*n.share(status))/100, n.weight, "%s: %s", nagiosWord(status), said)
}

// share is what a status gives of the weight, in percent.
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

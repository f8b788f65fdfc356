package check

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/braintree/lb/config"
)

// The exit status of a Nagios plugin, from "Plugin Return Codes" in the Monitoring Plugins Development Guidelines.
const (
	nagiosOK       = 0
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// nagios is a dependency on a Nagios plugin. It is up at OK and, unless warning_fails is set, at WARNING.
type nagios struct {
	noFloor
	command      command
	warningFails bool // false by default: a warning asks for attention and does not mean that the service is down
	timeout      time.Duration
}

func newNagios(c config.Check, _ Host) Check {
	return nagios{command: decodeCommand(c.Options), warningFails: c.Options.Bool("warning_fails", false), timeout: c.Timeout}
}

func (n nagios) Run(ctx context.Context) Result {
	status, output, err := n.command.nagios(ctx, n.timeout)
	switch {
	case err != nil:
		return failed("%v: %s", err, output)
	case status == nagiosOK, status == nagiosWarning && !n.warningFails:
		return passed("%s: %s", nagiosName(status), output)
	}
	return failed("%s: %s", nagiosName(status), output)
}

func (n nagios) Display() string { return fmt.Sprintf("Dependency::Nagios(%s)", n.command.show) }

// nagios runs a Nagios plugin and returns its status, 0 to 3, and the message in its output. Any other exit
// status is an error.
func (c command) nagios(ctx context.Context, timeout time.Duration) (status int, output string, err error) {
	out := c.run(ctx, timeout)
	var exit *exec.ExitError
	if out.Err != nil && !errors.As(out.Err, &exit) {
		return 0, out.detail(), out.Err
	}
	if exit != nil {
		status = exit.ExitCode() // -1: killed by a signal
	}
	if status < nagiosOK || status > nagiosUnknown {
		return 0, out.detail(), fmt.Errorf("%w, not a Nagios plugin's 0 to 3", out.Err)
	}
	return status, parsePlugin(out.Stdout, out.Stderr), nil
}

// parsePlugin finds the message in a plugin's output: the first line, without the performance data after a "|".
func parsePlugin(stdout, stderr string) string {
	for _, text := range []string{stdout, stderr} {
		line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		line, _, _ = strings.Cut(line, "|")
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return "it printed nothing"
}

// nagiosName is the name of an exit status of 0 to 3.
func nagiosName(status int) string {
	return [...]string{nagiosOK: "OK", nagiosWarning: "WARNING", nagiosCritical: "CRITICAL", nagiosUnknown: "UNKNOWN"}[status]
}

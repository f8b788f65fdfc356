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

// The exit status of a Nagios plugin, as the Monitoring Plugins Development Guidelines ("Plugin Return Codes") have it.
const (
	nagiosOK       = 0
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

// nagios is a dependency on a Nagios plugin. OK is well; WARNING too, unless warning_fails; CRITICAL and UNKNOWN are not.
type nagios struct {
	noFloor
	command      command
	warningFails bool // default false: a warning says that somebody should look, not that the service cannot work
	timeout      time.Duration
}

func newNagios(c config.Check, _ Host) Check {
	return nagios{command: decodeCommand(c.Options), warningFails: c.Options.Bool("warning_fails", false), timeout: c.Timeout}
}

func (n nagios) Run(ctx context.Context) Result {
	status, said, err := n.command.nagios(ctx, n.timeout)
	switch {
	case err != nil:
		return bad("%v: %s", err, said)
	case status == nagiosOK, status == nagiosWarning && !n.warningFails:
		return good("%s: %s", nagiosWord(status), said)
	}
	return bad("%s: %s", nagiosWord(status), said)
}

func (n nagios) Display() string { return fmt.Sprintf("Dependency::Nagios(%s)", n.command.show) }

// nagios runs a command that is a Nagios plugin and gives its status, 0 to 3, and what it said. Any other end is an error.
func (c command) nagios(ctx context.Context, timeout time.Duration) (status int, said string, err error) {
	out := c.run(ctx, timeout)
	var exit *exec.ExitError
	if out.Err != nil && !errors.As(out.Err, &exit) {
		return 0, out.detail(), out.Err
	}
	if exit != nil {
		status = exit.ExitCode() // -1: ended by a signal
	}
	if status < nagiosOK || status > nagiosUnknown {
		return 0, out.detail(), fmt.Errorf("%w, which is none of a Nagios plugin's 0 to 3", out.Err)
	}
	return status, parsePlugin(out.Stdout, out.Stderr), nil
}

// parsePlugin finds what a plugin says to people: the first line that it prints, up to the performance data behind a "|".
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

func nagiosWord(status int) string {
	return [...]string{nagiosOK: "OK", nagiosWarning: "WARNING", nagiosCritical: "CRITICAL", nagiosUnknown: "UNKNOWN"}[status]
}

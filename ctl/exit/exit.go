// Package exit decides how a command of lb ends: its exit status, and what it prints about an error.
package exit

import (
	"errors"
	"fmt"
	"io"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/action"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/tunnel"
)

// The exit statuses of every command except ocf, which follows the OCF standard. 69, 77 and 78 are from sysexits.h.
const (
	OK            = 0
	failed        = 1
	refused       = 2
	Unavailable   = 69
	NoPermission  = 77
	InvalidConfig = 78
)

// Statuses explains the exit statuses in `lb help`.
const Statuses = `Exit status:
    0  success
    1  failed: a daemon is unreachable, the kernel rejected a change, the service is down (ctl status), or a problem was found
       (ctl pacemaker status, ctl doctor)
    2  refused: wrong usage, or the daemon refused the request or has no such service, cluster or node
   69  the kernel lacks IPVS, nftables or IP tunnels
   77  no privilege
   78  the configuration has errors
  (ocf, bigbrother and ocf_big_brother follow the OCF standard: see lb ocf usage)`

// Code is an error that only carries an exit status: the message has been printed.
type Code int

// Error gives the status.
func (c Code) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// Status maps an error, or nil, to an exit status.
func Status(err error) int {
	var (
		code        Code
		usageErr    *usage.Error
		rejection   *client.RefusedError
		name        *client.NameError
		diagnostics config.Diagnostics
	)
	switch {
	case err == nil:
		return OK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usageErr), errors.As(err, &name), errors.As(err, &rejection):
		return refused
	case errors.As(err, &diagnostics):
		return InvalidConfig
	case errors.Is(err, netx.ErrNoIPVS), errors.Is(err, mark.ErrNoNftables), errors.Is(err, tunnel.ErrNoIPIP),
		errors.Is(err, tunnel.ErrNoIP6Tnl):
		return Unavailable
	case errors.Is(err, netx.ErrNoPrivilege):
		return NoPermission
	}
	return failed
}

// LitmusctlStatus maps an error, or nil, to the status of litmus_paper's own litmusctl: 2 for what the agent refuses, even if lb notices
// before the request, and 1 for every other failure.
func LitmusctlStatus(err error) int {
	usageErr := (*usage.Error)(nil)
	switch status := Status(err); {
	case status == OK:
		return OK
	case status == refused && !(errors.As(err, &usageErr) && usageErr.Option):
		return refused
	}
	return failed
}

// LitmusctlStatuses explains the exit statuses in `litmusctl help`.
const LitmusctlStatuses = `Exit status:
    0  success
    1  failed: the agent is unreachable, an option or the configuration is wrong, or the service is down (status)
    2  refused: no such service, command or force`

// Report prints an error for the operator.
func Report(w io.Writer, err error) {
	var diagnostics config.Diagnostics
	switch {
	case err == nil, errors.Is(err, action.ErrDown), errors.Is(err, action.ErrInconsistent), errors.Is(err, action.ErrUnsafeKernel),
		errors.As(err, new(Code)):
		// the printed result says it
	case errors.As(err, &diagnostics) && len(diagnostics) > 1:
		fmt.Fprintf(w, "lb: the configuration has %d errors:\n", len(diagnostics))
		for _, d := range diagnostics {
			fmt.Fprintf(w, "  %s\n", d)
		}
	default:
		fmt.Fprintf(w, "lb: %v\n", err)
	}
}

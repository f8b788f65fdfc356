// Package exit is the one place that says how a command of lb ends: its exit status, and what is printed about an error.
package exit

import (
	"errors"
	"fmt"
	"io"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/tunnel"
)

// The exit statuses of every command but ocf, which has those of the OCF standard. 69, 77 and 78 are those of sysexits.h.
const (
	Done        = 0
	Failed      = 1
	Refused     = 2
	NoKernel    = 69
	NoPrivilege = 77
	Mistakes    = 78
)

// Statuses is what `lb help` says about them.
const Statuses = `Exit status:
    0  done
    1  failed: a daemon cannot be reached, the kernel refuses, the service is down (ctl status), or there is trouble (ctl pacemaker status, ctl doctor)
    2  refused: wrong usage, or the daemon knows no such thing
   69  this kernel has no IPVS (or no nftables, or no ipip tunnel)
   77  no privilege
   78  the configuration has mistakes
  (ocf, bigbrother, ocf_big_brother: as the OCF standard says, see lb ocf usage)`

// Code is an error that is an exit status and no more: what is wrong has been said.
type Code int

// Error makes it an error.
func (c Code) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// Status maps an error, or nil, to the status that says what kind it is.
func Status(err error) int {
	var (
		code     Code
		usageErr *usage.Error
		refused  *client.RefusedError
		name     *client.NameError
		mistakes config.Mistakes
	)
	switch {
	case err == nil:
		return Done
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usageErr), errors.As(err, &name), errors.As(err, &refused):
		return Refused
	case errors.As(err, &mistakes):
		return Mistakes
	case errors.Is(err, netx.ErrNoIPVS), errors.Is(err, mark.ErrNoNftables), errors.Is(err, tunnel.ErrNoIPIP):
		return NoKernel
	case errors.Is(err, netx.ErrNoPrivilege):
		return NoPrivilege
	}
	return Failed
}

// OfLitmusctl maps an error, or nil, to the status that litmus_paper's own litmusctl has: 2 for what the agent refuses, also
// where that is seen before it is asked, and 1 for whatever else goes wrong.
func OfLitmusctl(err error) int {
	usageErr := (*usage.Error)(nil)
	switch status := Status(err); {
	case status == Done:
		return Done
	case status == Refused && !(errors.As(err, &usageErr) && usageErr.Option):
		return Refused
	}
	return Failed
}

// LitmusctlStatuses is what `litmusctl help` says about them.
const LitmusctlStatuses = `Exit status:
    0  done
    1  failed: the agent cannot be reached, an option or the configuration is wrong, or the service is down (status)
    2  refused: there is no such service, command or force`

// Report tells the operator what went wrong, once.
func Report(w io.Writer, err error) {
	var mistakes config.Mistakes
	switch {
	case err == nil, errors.Is(err, ctl.ErrDown), errors.Is(err, ctl.ErrDisagree), errors.Is(err, ctl.ErrUnsafe), errors.As(err, new(Code)):
		// what was printed says it all
	case errors.As(err, &mistakes) && len(mistakes) > 1:
		fmt.Fprintf(w, "lb: the configuration has %d mistakes:\n", len(mistakes))
		for _, m := range mistakes {
			fmt.Fprintf(w, "  %s\n", m)
		}
	default:
		fmt.Fprintf(w, "lb: %v\n", err)
	}
}

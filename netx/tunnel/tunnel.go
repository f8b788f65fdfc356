// Package tunnel makes this machine a real server behind IPIP: it takes packets out of the balancer's tunnel and answers clients
// directly from the virtual IP.
//
// What that takes, and how lb knows its own work again:
//
//   - tunl0, the kernel's IPIP interface that takes packets from any balancer, up.
//   - Each virtual IP as a /32 on tunl0. lb's carry the label "tunl0:lb", which `ip addr` shows: unlike an address's protocol every
//     kernel keeps it, and unlike a file it cannot be lost or be wrong after a reboot. An address without it is somebody else's and
//     is neither needed twice nor taken away.
//   - arp_ignore 1 and arp_announce 2 on all interfaces, before the first virtual IP: the network must not learn that this machine
//     has the address too.
//   - rp_filter 2 on tunl0. Clients' packets come out of tunl0 while the way back to them leads elsewhere, which the strict
//     check (1) takes for a forgery. The kernel uses the higher of "all" and the interface, so 2 (loose: the client must
//     be reachable by some way) on tunl0 alone is right whatever the rest of the machine says, and a 0 there would not be.
//     Nothing else is loosened; the tunnel's outer packets come from a balancer by the way that leads to it.
//   - The segment size that answers from a virtual IP offer, lowered by the tunnel's 20 bytes: the client's full segments
//     must fit into the tunnel. That is table inet lb_agent in nftables, and lb owns the whole of that table.
//
// What settings were before is kept in a file in the state folder, for Down, and forgotten at a reboot as the kernel forgets
// what was set. Without the file Down leaves the settings as they are.
//
// IPv4 only: IPv6 virtual IPs (ip6tnl) are reported as missing.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
)

// The names of what lb sets up.
const (
	device = "tunl0"
	label  = device + ":lb"
	table  = "lb_agent"
)

var (
	// ErrNoIPIP says that the kernel cannot take packets out of IPIP.
	ErrNoIPIP = errors.New("this kernel has no ipip tunnel: load it with `modprobe ipip`, or run on a kernel built with CONFIG_NET_IPIP")
	// ErrIPv6 says that a virtual IP cannot be set up because it is IPv6.
	ErrIPv6 = errors.New("IPv6 virtual IPs are not yet supported by the tunnel set-up: put them on this machine by hand, or leave the machine out of their clusters")
)

// Wanted is what the machine should be a real server for.
type Desired struct {
	VIPs  []netip.Addr // in any order, doubled or not
	Nodes []netip.Addr // this machine's addresses that balancers tunnel to; none stands for all it has
}

// Setup reads and changes the machine. One goroutine at a time may use it, and one process on a machine.
type Setup struct {
	note noteFile
	log  *slog.Logger
}

// New returns a Setup that keeps its note in the given folder (/var/lib/lb/agent), which Up makes where it is missing.
func New(stateDir string, log *slog.Logger) *Setup {
	return &Setup{note: noteFile{stateDir}, log: log}
}

// Up sets up what is wanted and missing, takes away what lb set up and is no longer wanted, and returns the steps that it
// did: none when all was well. An error names what is missing still; the rest is set up. No virtual IP wanted is Down.
func (s *Setup) Up(ctx context.Context, want Desired) ([]Step, error) {
	current, err := s.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up the tunnel: %w", err)
	}
	steps, missing := Plan(current, want)
	done, err := s.Apply(ctx, steps)
	if err := errors.Join(missing, err); err != nil {
		return done, fmt.Errorf("set up the tunnel: %w", err)
	}
	return done, nil
}

// Down undoes what Up did and returns the steps that it did: none when nothing was left. The ipip module and tunl0 itself stay;
// so does a setting that somebody changed after Up.
func (s *Setup) Down(ctx context.Context) ([]Step, error) {
	current, err := s.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("undo the tunnel: %w", err)
	}
	done, err := s.Apply(ctx, PlanDown(current))
	if err != nil {
		return done, fmt.Errorf("undo the tunnel: %w", err)
	}
	return done, nil
}

// Apply does the steps in order and returns those that it did. It stops at the first that fails; the error names
// all that were not done, and why the first of them was not.
func (s *Setup) Apply(ctx context.Context, steps []Step) ([]Step, error) {
	for i, step := range steps {
		err := ctx.Err()
		if err == nil {
			err = s.do(step)
		}
		if err != nil {
			return steps[:i], fmt.Errorf("not done: %s: %w", list(steps[i:]), err)
		}
		s.log.Info("tunnel: " + step.String())
	}
	return steps, nil
}

// list joins steps to one line.
func list(steps []Step) string {
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.String()
	}
	return strings.Join(names, "; ")
}

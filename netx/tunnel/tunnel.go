// Package tunnel makes this machine a real server for IPIP forwarding: it decapsulates the balancers' packets and
// answers clients directly from the virtual IPs. It also watches over that.
//
// It sets up the following, and recognises what it set up:
//
//   - tunl0, the kernel's IPIP interface, which accepts packets from any balancer, is up.
//   - Each virtual IP is a /32 on tunl0. lb's addresses have the label "tunl0:lb", which `ip addr` shows: unlike an
//     address's protocol, every kernel supports it, and unlike a file, it cannot be lost or outdated after a reboot.
//     Addresses without the label are unmanaged: lb neither adds them again nor removes them.
//   - arp_ignore is 1 and arp_announce is 2 on all interfaces before the first virtual IP is added: the network must not
//     learn that this machine has the address, too.
//   - rp_filter is 2 on tunl0. Clients' packets arrive on tunl0 but are answered over another interface, which the strict
//     filter (1) treats as spoofing. The kernel uses the higher value of "all" and the interface, so 2 (loose: the client
//     must be reachable over any interface) on tunl0 is right whatever "all" is; 0 would not be. Nothing else is loosened:
//     the outer packets arrive from a balancer over the interface that leads to it.
//   - For IPv6 it is the same with ip6tnl0 and a /128 for each virtual IP, without sysctls: see ipv6. IPv6 addresses have no
//     labels, so those that lb added are saved in the file below.
//   - The MSS that replies from a virtual IP offer is lowered by the tunnel's 20 bytes (40 for IPv6), so that the client's full
//     segments fit into the tunnel. This is nftables table inet lb_agent, which lb owns completely.
//
// For Down, the previous sysctls are saved in a file in the state folder. They expire at a reboot, when the kernel
// loses its settings as well. Without the file Down leaves the sysctls and IPv6 addresses as they are.
package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
)

// Names of what lb sets up.
const (
	label = "tunl0:lb"
	table = "lb_agent"
)

var (
	// ErrNoIPIP means that the kernel does not support IPIP tunnels.
	ErrNoIPIP = errors.New("this kernel has no ipip tunnel: load it with `modprobe ipip`, or run on a kernel built with CONFIG_NET_IPIP")
	// ErrNoIP6Tnl means that the kernel does not support IPv6 tunnels.
	ErrNoIP6Tnl = errors.New("this kernel has no ip6tnl tunnel: load it with `modprobe ip6_tunnel`, " +
		"or run on a kernel built with CONFIG_IPV6_TUNNEL")
)

// Desired is the desired state of a real server.
type Desired struct {
	VIPs  []netip.Addr // in any order, duplicates allowed
	Nodes []netip.Addr // this machine's addresses that balancers tunnel to; none means all its addresses
}

// Setup reads and changes the machine. It is not safe for concurrent use, and only one process per machine may use it.
type Setup struct {
	saved savedFile
	log   *slog.Logger
}

// New returns a Setup with its state in a folder (/var/lib/lb/agent), which Up creates if it is missing.
func New(stateDir string, log *slog.Logger) *Setup {
	return &Setup{saved: savedFile{stateDir}, log: log}
}

// Up sets up what is desired and missing, removes what lb set up and is no longer desired, and returns the completed
// steps: none if nothing had to be done. The error names what is still missing. Without virtual IPs it is like Down.
func (s *Setup) Up(ctx context.Context, desired Desired) ([]Step, error) {
	current, err := s.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up the tunnel: %w", err)
	}
	steps, missing := Plan(current, desired)
	done, err := s.Apply(ctx, steps)
	if err := errors.Join(missing, err); err != nil {
		return done, fmt.Errorf("set up the tunnel: %w", err)
	}
	return done, nil
}

// Down undoes Up and returns the completed steps: none if nothing was left. The ipip module, tunl0 itself and sysctls
// changed by others after Up stay.
func (s *Setup) Down(ctx context.Context) ([]Step, error) {
	current, err := s.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("undo the tunnel: %w", err)
	}
	done, err := s.Apply(ctx, planDown(current))
	if err != nil {
		return done, fmt.Errorf("undo the tunnel: %w", err)
	}
	return done, nil
}

// Apply makes the steps in order and returns the completed ones. After a failure it makes no further steps of the same IP
// version, or of both if the step was for both. The error names all steps not done, and why.
func (s *Setup) Apply(ctx context.Context, steps []Step) (done []Step, err error) {
	failed := map[int]*failure{} // by the family's bits, 0: both
	var order []*failure
	for _, step := range steps {
		f, _ := step.family()
		before := cmp.Or(failed[0], failed[f.bits])
		if step.Action == DeleteSaved && len(order) > 0 {
			before = order[0] // what is not undone yet is still needed
		}
		if before != nil {
			before.steps = append(before.steps, step)
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = s.applyStep(step)
		}
		if err != nil {
			failed[f.bits] = &failure{[]Step{step}, err}
			order = append(order, failed[f.bits])
			continue
		}
		s.log.Info("tunnel: " + step.String())
		done = append(done, step)
	}
	var errs []error
	for _, f := range order {
		errs = append(errs, fmt.Errorf("not done: %s: %w", joinSteps(f.steps), f.cause))
	}
	return done, errors.Join(errs...)
}

// failure is a step that failed, and the later ones that were skipped for it.
type failure struct {
	steps []Step
	cause error
}

// joinSteps joins steps to one line.
func joinSteps(steps []Step) string {
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.String()
	}
	return strings.Join(names, "; ")
}

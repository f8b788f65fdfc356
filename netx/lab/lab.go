// Package lab builds hosts and switches from anonymous network namespaces, runs programs in them, and cleans up after itself.
//
// Nothing has a name outside the process that built it. Threads and file descriptors hold the namespaces, veth pairs connect two
// namespaces directly, and each host's processes run below an init that exits when the builder does. However the builder ends, even by
// kill -9, the kernel removes everything. The machine's own interfaces, mounts and processes are never touched.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// ErrClosed reports that the lab is closed.
var ErrClosed = errors.New("the lab is closed")

// closeTimeout limits how long Close waits for the functions and processes of one host. An emulated processor takes up to a second to
// kill a host's processes.
const closeTimeout = 15 * time.Second

// Lab is a set of switches and hosts. Its methods are safe for concurrent use.
type Lab struct {
	log *slog.Logger

	mu       sync.Mutex // protects the fields below
	switches map[string]*Switch
	hosts    map[string]*Host
	order    []string          // names of hosts, in build order
	macs     map[string][]byte // hardware addresses in use, by host and interface: "app01 eth0"
	closed   bool
	closeErr error
}

// New returns an empty lab. It fails with netx.ErrNoPrivilege if this process may not create namespaces.
func New(log *slog.Logger) (*Lab, error) {
	if err := probe(); err != nil {
		return nil, fmt.Errorf("build a lab of network namespaces: %w", err)
	}
	return &Lab{log: log, switches: map[string]*Switch{}, hosts: map[string]*Host{}, macs: map[string][]byte{}}, nil
}

// probe creates the namespaces of a host once, on a throwaway thread. Only trying is reliable: a seccomp filter may forbid the call
// even with the capabilities.
func probe() error {
	result := make(chan error, 1)
	onThread(func() { result <- unix.Unshare(hostNamespaces) })
	err := <-result
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (namespaces need CAP_SYS_ADMIN as well)", netx.ErrNoPrivilege)
	}
	if err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return nil
}

// Switch returns the switch with this name, building it if needed. A switch is a bridge in its own namespace.
func (l *Lab) Switch(name string) (*Switch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("build switch %s: %w", name, ErrClosed)
	}
	if s := l.switches[name]; s != nil {
		return s, nil
	}
	s, err := newSwitch(name)
	if err != nil {
		return nil, fmt.Errorf("build switch %s: %w", name, err)
	}
	l.switches[name] = s
	return s, nil
}

// Host builds a host with the given links. It is up, with its addresses, when Host returns.
func (l *Lab) Host(name string, links ...Link) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("build host %s: %w", name, ErrClosed)
	}
	if l.hosts[name] != nil {
		return nil, fmt.Errorf("build host %s: the lab already has a host of that name", name)
	}
	started := time.Now()
	h, err := newHost(name, l.log, links, l.mac)
	if err != nil {
		return nil, fmt.Errorf("build host %s: %w", name, err)
	}
	l.hosts[name] = h
	l.order = append(l.order, name)
	l.log.Debug("host is up", "host", name, "took", time.Since(started).Round(time.Millisecond))
	return h, nil
}

// Remove ends a host like a power failure: it removes the cables, then kills the processes, and no kernel state remains. Sockets from
// Listen and Dial belong to the caller, who must close them. A new host can then take the name.
func (l *Lab) Remove(h *Host) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("remove host %s: %w", h.name, ErrClosed)
	}
	if l.hosts[h.name] != h {
		return fmt.Errorf("remove host %s: it is not in the lab", h.name)
	}
	delete(l.hosts, h.name)
	l.order = slices.DeleteFunc(l.order, func(name string) bool { return name == h.name })
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(h.disconnect(), h.close(ctx))
}

// mac returns the hardware address of a host's interface, locally administered, from 02:6c:62:00:00:01 up. A rebuilt host gets the same
// address, like a machine that is switched off and on. mu must be held.
func (l *Lab) mac(host, iface string) []byte {
	key := host + " " + iface
	if l.macs[key] == nil {
		n := len(l.macs) + 1
		l.macs[key] = []byte{0x02, 'l', 'b', 0, byte(n >> 8), byte(n)}
	}
	return l.macs[key]
}

// Close kills all processes in the lab, waits for them, and releases hosts and switches. Sockets from Listen and Dial belong to their
// callers and work inside their namespace until closed. Further calls return the first result.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.closeErr
	}
	l.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()

	// Hosts are closed concurrently: the kernel takes tens of milliseconds for each.
	errs := make([]error, len(l.order))
	var wg sync.WaitGroup
	for i, name := range l.order {
		wg.Go(func() { errs[i] = l.hosts[name].close(ctx) })
	}
	wg.Wait()
	for _, s := range l.switches {
		errs = append(errs, s.close(ctx))
	}
	l.closeErr = errors.Join(errs...)
	return l.closeErr
}

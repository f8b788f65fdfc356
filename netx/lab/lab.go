// Package lab builds hosts and switches out of anonymous network namespaces, runs programs in them, and leaves nothing behind.
//
// Nothing has a name outside the process that builds it: namespaces are held by threads and file descriptors, cables
// (veth pairs) are made directly between two namespaces, and every program is below an init of its host that ends when the
// builder does. So whatever ends the builder, kill -9 included, the kernel clears everything away, and the machine's own
// interfaces, mounts and processes are never touched.
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

// ErrClosed says that the lab was closed.
var ErrClosed = errors.New("the lab is closed")

// closeLimit bounds how long Close waits for the functions and processes of one host. Under an emulated processor the
// kernel needs up to a second to end a host's processes.
const closeTimeout = 15 * time.Second

// Lab is a set of switches and hosts. Its methods may be called by several goroutines.
type Lab struct {
	log *slog.Logger

	mu       sync.Mutex // protects all below
	switches map[string]*Switch
	hosts    map[string]*Host
	order    []string          // of hosts, as they were built
	macs     map[string][]byte // hardware addresses that were given out, by host and interface: "app01 eth0"
	closed   bool
	closeErr error
}

// New returns an empty lab. It fails with netx.ErrNoPrivilege when this process may not make namespaces.
func New(log *slog.Logger) (*Lab, error) {
	if err := probe(); err != nil {
		return nil, fmt.Errorf("build a lab of network namespaces: %w", err)
	}
	return &Lab{log: log, switches: map[string]*Switch{}, hosts: map[string]*Host{}, macs: map[string][]byte{}}, nil
}

// probe makes the namespaces of a host once, on a thread that ends at once. Trying is the only true answer: capabilities may
// be there and a seccomp filter forbid the call all the same.
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

// Switch builds a switch: a bridge in a namespace of its own. The same name gives the same switch.
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

// Host builds a host that is plugged in by the given links. It is up, with its addresses, when Host returns.
func (l *Lab) Host(name string, links ...Link) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("build host %s: %w", name, ErrClosed)
	}
	if l.hosts[name] != nil {
		return nil, fmt.Errorf("build host %s: a host of that name is in the lab already", name)
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

// Remove is the end of a host as when its power fails: its cables are pulled, then its processes are killed, and nothing of its
// kernel's state stays behind. Sockets that Listen and Dial gave out are the caller's to close. Then a host of that name can be
// built anew.
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

// mac returns the hardware address of a host's interface: a locally administered one, 02:6c:62:00:00:01 and on, which a host that is
// built anew has again, as a machine that is switched off and on. Called with mu held.
func (l *Lab) mac(host, iface string) []byte {
	key := host + " " + iface
	if l.macs[key] == nil {
		n := len(l.macs) + 1
		l.macs[key] = []byte{0x02, 'l', 'b', 0, byte(n >> 8), byte(n)}
	}
	return l.macs[key]
}

// Close kills every process in the lab, waits for them, and releases hosts and switches. Sockets that Listen and Dial gave
// out belong to their callers and keep working inside their namespace until they are closed. Further calls return what
// the first did.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.closeErr
	}
	l.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()

	// Hosts end side by side: the kernel takes tens of milliseconds for each.
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

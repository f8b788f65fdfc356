package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"time"

	"github.com/mdlayher/genetlink"
	moby "github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// Kernel is the Table of the running kernel. It reads services through moby/ipvs; it reads destinations and writes
// everything with its own messages (messages.go says why).
//
// It belongs to the network namespace of the thread that called NewKernel, even if the process enters others later.
type Kernel struct {
	// lock holds one token; only its owner may use the fields below. It is a channel instead of a mutex so that waiting
	// can end with the context. moby's handle is not safe for concurrent use: it consumes responses meant for other
	// callers, which then wait forever.
	lock   chan struct{}
	moby   *moby.Handle
	genl   *genetlink.Conn // to look up the family ID
	conn   *netlinkConn    // for everything else
	family uint16          // the generic netlink family ID of IPVS
	closed bool
}

// NewKernel opens the kernel's table. ErrNoIPVS if the kernel has no IPVS, ErrNoPrivilege without CAP_NET_ADMIN.
func NewKernel() (*Kernel, error) {
	// All sockets must be opened in one namespace, and a goroutine may change threads between them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	const doing = "open the kernel's load-balancing table: %w"
	genl, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf(doing, fmt.Errorf("generic netlink: %w", err))
	}
	k, err := newKernel(genl, openMoby)
	if err != nil {
		return nil, errors.Join(fmt.Errorf(doing, err), genl.Close())
	}
	if k.conn, err = dialNetlink(); err != nil {
		k.moby.Close()
		return nil, errors.Join(fmt.Errorf(doing, err), genl.Close())
	}
	return k, nil
}

// newKernel checks for IPVS and privilege before it calls moby/ipvs: moby caches the family ID forever, as 0 if IPVS
// was missing, and with 0 every operation seems to succeed.
func newKernel(genl *genetlink.Conn, open func() (*moby.Handle, error)) (*Kernel, error) {
	k := &Kernel{lock: make(chan struct{}, 1), genl: genl}
	k.lock <- struct{}{}
	var err error
	if k.family, err = ipvsFamily(genl); err != nil {
		return nil, err
	}
	if err := k.checkPrivilege(); err != nil {
		return nil, err
	}
	if k.moby, err = open(); err != nil {
		return nil, err
	}
	return k, nil
}

// ipvsFamily returns the generic netlink family ID of IPVS. The lookup makes the kernel load ip_vs.
func ipvsFamily(genl *genetlink.Conn) (uint16, error) {
	family, err := genl.GetFamily("IPVS")
	if errors.Is(err, unix.ENOENT) {
		return 0, netx.ErrNoIPVS
	}
	if err != nil {
		return 0, fmt.Errorf("look up IPVS in the kernel: %w", err)
	}
	return family.ID, nil
}

// openMoby opens moby's handle and checks that it reaches IPVS. moby runs modprobe and logs its failure to stderr
// through logrus; this is irrelevant here, because ip_vs is already loaded.
func openMoby() (*moby.Handle, error) {
	log := logrus.StandardLogger().Out
	logrus.SetOutput(io.Discard)
	h, err := moby.New("")
	logrus.SetOutput(log)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	// Whether mark 1 exists does not matter: any result but these two is not from IPVS.
	_, err = h.GetService(&moby.Service{FWMark: 1, AddressFamily: unix.AF_INET})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		h.Close()
		return nil, explainErrno(fmt.Errorf("query IPVS: %w", err))
	}
	return h, nil
}

// Dump implements Table. It reads weights above 65535, which only other programs set, as 65535.
func (k *Kernel) Dump(ctx context.Context) ([]Service, error) {
	var services []Service
	err := k.withLock(ctx, func() error {
		found, err := k.moby.GetServices()
		if err != nil {
			return k.explainErrno(err, nil)
		}
		for _, f := range found {
			s, ours := fromMoby(f)
			if !ours {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			// A service deleted meanwhile has no destinations and is no error.
			if s.Destinations, err = k.destinations(s.Key); err != nil {
				return fmt.Errorf("dump the destinations of %s: %w", s.Key, k.explainErrno(err, nil))
			}
			sortDestinations(s.Destinations)
			services = append(services, s)
		}
		return nil
	})
	if err != nil {
		return nil, operation{verb: opDump}.wrap(err)
	}
	slices.SortFunc(services, func(a, b Service) int { return compareKeys(a.Key, b.Key) })
	return services, nil
}

// Apply implements Table.
func (k *Kernel) Apply(ctx context.Context, changes []Change) []error {
	errs := make([]error, len(changes))
	if err := k.withLock(ctx, func() error {
		for i, err := range applyInOrder(ctx, changes, k.exchange) {
			if err != nil {
				errs[i] = changes[i].operation().wrap(k.explainChange(changes[i], err))
			}
		}
		return nil
	}); err != nil {
		return failAll(changes, err)
	}
	return errs
}

// exchange sends each attempt of the batch once.
func (k *Kernel) exchange(batch []attempt) []error {
	return k.conn.exchange(k.family, len(batch), func(b attributes, i int) attributes { return encode(b, batch[i]) })
}

// explainChange adds the cause to the kernel's errno for a change.
func (k *Kernel) explainChange(c Change, err error) error {
	if err == nil || !errors.As(err, new(unix.Errno)) {
		return err
	}
	switch {
	case c.verb == opPutService:
		return k.explainErrno(err, schedulerError(c.service.Scheduler))
	case c.verb == opDeleteService:
		return k.explainErrno(err, nil)
	case c.verb == opPutDestination && errors.Is(err, unix.EINVAL) && FamilyOf(c.destination.Address) != c.service.Family:
		return fmt.Errorf("%w (or %s is not a unicast address)", errMixedFamilies(), c.destination.Address)
	case c.verb == opPutDestination && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: %s must be a unicast address, and this machine needs an interface that is up (%w)",
			ErrInvalid, c.destination.Address, err)
	}
	return k.explainErrno(err, ErrNoDestination)
}

// Close implements Table. Later calls fail with net.ErrClosed; the kernel's table stays as it is.
func (k *Kernel) Close() error {
	<-k.lock
	defer func() { k.lock <- struct{}{} }()
	if k.closed {
		return nil
	}
	k.closed = true
	k.moby.Close()
	if err := errors.Join(k.genl.Close(), k.conn.close()); err != nil {
		return fmt.Errorf("close the kernel's load-balancing table: %w", err)
	}
	return nil
}

// withLock runs f while it holds the lock. It does not interrupt f: the kernel responds within the system call.
func (k *Kernel) withLock(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-k.lock:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { k.lock <- struct{}{} }()
	if k.closed {
		return net.ErrClosed
	}
	return f()
}

// explainErrno adds the cause to an errno. absent is what ENOENT means for the operation: the kernel returns it for a
// missing scheduler or destination, and if IPVS was unloaded.
func (k *Kernel) explainErrno(err, absent error) error {
	if !errors.Is(err, unix.ENOENT) {
		return explainErrno(err)
	}
	if now, lookup := ipvsFamily(k.genl); lookup != nil || now != k.family {
		// moby/ipvs caches the old family ID as long as the process lives.
		return fmt.Errorf("%w: it was unloaded after lb started: load it and restart lb", netx.ErrNoIPVS)
	}
	if absent == nil {
		return err
	}
	return absent
}

func explainErrno(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", netx.ErrNoPrivilege, err)
	case errors.Is(err, unix.ESRCH):
		return ErrNoService
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w (%w)", ErrInvalid, err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: its IPVS does not support this address family; IPv6 needs CONFIG_IP_VS_IPV6 (%w)", ErrInvalid, err)
	}
	return err
}

// fromMoby converts a service and reports whether it is selected by mark.
func fromMoby(m *moby.Service) (Service, bool) {
	s := Service{
		Key:       Key{Mark: Mark(m.FWMark), Family: IPv4},
		Scheduler: m.SchedName,
		Flags:     Flags(m.Flags) &^ flagHashed,
	}
	if m.AddressFamily == unix.AF_INET6 {
		s.Family = IPv6
	}
	if s.Flags&Persistent != 0 {
		s.Timeout = time.Duration(m.Timeout) * time.Second
		s.Prefix = prefixOf(s.Family, m.Netmask)
	}
	return s, m.FWMark != 0
}

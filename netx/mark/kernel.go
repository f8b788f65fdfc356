package mark

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// ErrNoNftables means that the running kernel has no nftables for inet tables and cannot load it.
var ErrNoNftables = errors.New("this kernel has no nftables: load it with `modprobe nf_tables`, " +
	"or run on a kernel built with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET")

// maxAttempts is how often an operation restarts because another program changed nftables.
const maxAttempts = 10

// Kernel is the Table of the running kernel: the nftables table inet lb. It reads the table before each change, repairs
// changes by others, and touches no other table.
//
// It belongs to the network namespace of the thread that called NewKernel, even if the process enters others later.
type Kernel struct {
	// lock holds one token; only its owner may use the fields below. It is a channel instead of a mutex so that waiting
	// can end with the context.
	lock   chan struct{}
	reader *nftables.Conn
	writer *netlink.Conn
	cached *snapshot // the last consistent snapshot; nil: none
	closed bool

	counts    bool // the kernel can count what the rules mark
	uncounted bool // it cannot

	routes   *netlink.Conn // the routing tables
	listener *netlink.Conn // of Watch; not protected by lock
	writes   atomic.Int64
}

// snapshot is the table's state at a generation. Every transaction of any program makes a new generation, so the state
// is current as long as the kernel reports this one.
type snapshot struct {
	generation uint32
	state      state
}

// NewKernel opens the kernel's nftables and changes nothing yet. ErrNoNftables if the kernel has no nftables,
// netx.ErrNoPrivilege without CAP_NET_ADMIN.
func NewKernel() (*Kernel, error) {
	// All sockets must be opened in one namespace, and a goroutine may change threads between them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	k := &Kernel{lock: make(chan struct{}, 1)}
	k.lock <- struct{}{}
	var err error
	if k.writer, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return nil, fmt.Errorf("open nftables: %w", explainErrno(err))
	}
	if k.listener, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", explainErrno(err)), k.writer.Close())
	}
	if k.routes, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("open the routing tables: %w", explainErrno(err)), k.writer.Close(), k.listener.Close())
	}
	if err := k.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", explainErrno(err)), k.writer.Close(), k.listener.Close(), k.routes.Close())
	}
	return k, nil
}

func (k *Kernel) open() error {
	if err := setBufferSizes(k.writer); err != nil {
		return err
	}
	_, err := currentGeneration(k.writer)
	if errors.Is(err, unix.EINVAL) { // netlink exists, but not its nftables part
		return fmt.Errorf("%w (%w)", ErrNoNftables, err)
	}
	if err != nil {
		return err
	}
	k.reader, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(setBufferSizes))
	return err
}

// setBufferSizes makes a socket's buffers as large as the kernel permits.
func setBufferSizes(c *netlink.Conn) error {
	if err := c.SetReadBuffer(socketBufferSize); err != nil {
		return fmt.Errorf("set the socket's receive buffer: %w", err)
	}
	if err := c.SetWriteBuffer(socketBufferSize); err != nil {
		return fmt.Errorf("set the socket's send buffer: %w", err)
	}
	return nil
}

// List implements Table. It returns only rules that take effect: if someone removed the nftables rule for a map, the
// map's entries are left out.
func (k *Kernel) List(ctx context.Context) ([]Rule, error) {
	var rules []Rule
	err := k.do(ctx, opList, func(at *snapshot) (bool, error) {
		var err error
		rules, err = at.state.rules()
		return false, err
	})
	return rules, err
}

// Set implements Table.
func (k *Kernel) Set(ctx context.Context, rules []Rule) error {
	rules, err := normalize(rules)
	if err != nil {
		return fmt.Errorf("%s: %w", opSet, err)
	}
	return k.do(ctx, opSet, func(at *snapshot) (bool, error) {
		p := at.state.plan(rules, !k.uncounted)
		if p.empty() {
			return false, nil
		}
		err := k.commit(at.generation, p.build)
		if err == nil || errors.Is(err, errGenerationChanged) {
			return true, err
		}
		if !p.rebuild { // something that others put into the table references what must go
			p.rebuild = true
			if err = k.commit(at.generation, p.build); err == nil || errors.Is(err, errGenerationChanged) {
				return true, err
			}
		}
		// The kernel may be too old to count.
		p = at.state.plan(rules, false)
		p.rebuild = true
		if k.commit(at.generation, p.build) == nil {
			k.uncounted, err = true, nil
		}
		return true, err
	})
}

// Remove implements Table.
func (k *Kernel) Remove(ctx context.Context) error {
	return k.do(ctx, opRemove, func(at *snapshot) (bool, error) {
		if !at.state.present {
			return false, nil
		}
		return true, k.commit(at.generation, func(c *nftables.Conn) error {
			c.DelTable(table())
			return nil
		})
	})
}

// commit applies a transaction that changes the table.
func (k *Kernel) commit(generation uint32, build func(*nftables.Conn) error) error {
	err := commit(k.writer, generation, build)
	if err == nil {
		k.writes.Add(1)
	}
	return err
}

// Writes implements Table.
func (k *Kernel) Writes() int { return int(k.writes.Load()) }

// Close closes the sockets. The marking rules stay.
func (k *Kernel) Close() error {
	<-k.lock
	defer func() { k.lock <- struct{}{} }()
	if k.closed {
		return nil
	}
	k.closed = true
	if err := errors.Join(k.reader.CloseLasting(), k.writer.Close(), k.listener.Close(), k.routes.Close()); err != nil {
		return fmt.Errorf("close nftables: %w", err)
	}
	return nil
}

// do runs f while it holds the lock, and again as long as another program changes nftables meanwhile.
func (k *Kernel) do(ctx context.Context, operation string, f operationFunc) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	select {
	case <-k.lock:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", operation, ctx.Err())
	}
	defer func() { k.lock <- struct{}{} }()
	if k.closed {
		return fmt.Errorf("%s: %w", operation, net.ErrClosed)
	}
	for range maxAttempts {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", operation, err)
		}
		err := k.attempt(f)
		if !errors.Is(err, errGenerationChanged) {
			if err != nil {
				return fmt.Errorf("%s: %w", operation, explainErrno(err))
			}
			return nil
		}
	}
	return fmt.Errorf("%s: %w, %d times in a row; retrying with the next change or reconcile",
		operation, errGenerationChanged, maxAttempts)
}

// operationFunc works on nftables as of a snapshot. It reports whether it reached a transaction, for which the kernel
// itself compares the generation.
type operationFunc func(at *snapshot) (committed bool, err error)

// attempt runs f once. It returns errGenerationChanged if f may have seen a mixture of states.
func (k *Kernel) attempt(f operationFunc) error {
	before, err := currentGeneration(k.writer)
	if err != nil {
		return err
	}
	if at := k.cached; at != nil && at.generation == before {
		_, err := f(at)
		if err != nil {
			k.cached = nil // it may be the cause
		}
		return err
	}
	k.cached = nil
	at, committed := &snapshot{generation: before}, false
	var failed error
	if at.state, failed = k.readState(); failed == nil {
		committed, failed = f(at)
	}
	if committed {
		return failed
	}
	after, err := currentGeneration(k.writer)
	if err != nil {
		return errors.Join(failed, err)
	}
	if after != before {
		return errGenerationChanged
	}
	if failed == nil {
		k.cached = at
	}
	return failed
}

func explainErrno(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", netx.ErrNoPrivilege, err)
	// Either the netlink protocol or the inet family may be missing.
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrNoNftables, err)
	}
	return err
}

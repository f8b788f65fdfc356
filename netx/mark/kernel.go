package mark

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx"
)

// ErrNoNftables says that the running kernel has no nftables for inet tables and cannot load it.
var ErrNoNftables = errors.New("this kernel has no nftables: load it with `modprobe nf_tables`, " +
	"or run on a kernel built with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET")

// tries is how often an operation begins anew because another program changed nftables under it.
const maxAttempts = 10

// Kernel is the Table of the running kernel: the table inet lb of nftables. It reads what is there before each change, repairs what
// others did to the table, and touches no other.
//
// It belongs to the network namespace of the thread that called NewKernel, whatever namespaces the process enters later.
type Kernel struct {
	// turn holds one token; its owner alone may use what is below. A channel and not a mutex, so that waiting ends with the
	// context.
	lock   chan struct{}
	reader *nftables.Conn
	writer *netlink.Conn
	cached *snapshot // the last one that was whole; nil: none
	closed bool
}

// snapshot is the state as of a generation. Each transaction of anybody makes a new generation, so as long as the kernel names this one, its table
// is this.
type snapshot struct {
	generation uint32
	state      state
}

// NewKernel opens the kernel's nftables, and changes nothing yet. ErrNoNftables where there is none, netx.ErrNoPrivilege
// without CAP_NET_ADMIN.
func NewKernel() (*Kernel, error) {
	// Both sockets must come to be in one namespace, and a goroutine may change threads between them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	k := &Kernel{lock: make(chan struct{}, 1)}
	k.lock <- struct{}{}
	var err error
	if k.writer, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
		return nil, fmt.Errorf("open nftables: %w", explainErrno(err))
	}
	if err := k.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", explainErrno(err)), k.writer.Close())
	}
	return k, nil
}

func (k *Kernel) open() error {
	if err := setBufferSizes(k.writer); err != nil {
		return err
	}
	_, err := currentGeneration(k.writer)
	if errors.Is(err, unix.EINVAL) { // netlink is there, its nftables part is not
		return fmt.Errorf("%w (%w)", ErrNoNftables, err)
	}
	if err != nil {
		return err
	}
	k.reader, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(setBufferSizes))
	return err
}

// enlarge makes a socket's buffers as large as the kernel lets us.
func setBufferSizes(c *netlink.Conn) error {
	if err := c.SetReadBuffer(socketBufferSize); err != nil {
		return fmt.Errorf("enlarge the socket's buffer: %w", err)
	}
	if err := c.SetWriteBuffer(socketBufferSize); err != nil {
		return fmt.Errorf("enlarge the socket's buffer: %w", err)
	}
	return nil
}

// List implements Table. Only rules that take effect count: those of a map whose rule someone removed are left out.
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
		p := at.state.plan(rules)
		if p.empty() {
			return false, nil
		}
		err := commit(k.writer, at.generation, p.build)
		if err == nil || errors.Is(err, errGenerationChanged) || p.rebuild {
			return true, err
		}
		// Something that others put into our table holds on to what must go.
		p.rebuild = true
		return true, commit(k.writer, at.generation, p.build)
	})
}

// Remove implements Table.
func (k *Kernel) Remove(ctx context.Context) error {
	return k.do(ctx, opRemove, func(at *snapshot) (bool, error) {
		if !at.state.present {
			return false, nil
		}
		return true, commit(k.writer, at.generation, func(c *nftables.Conn) error {
			c.DelTable(table())
			return nil
		})
	})
}

// Close gives the sockets back. The marks stay.
func (k *Kernel) Close() error {
	<-k.lock
	defer func() { k.lock <- struct{}{} }()
	if k.closed {
		return nil
	}
	k.closed = true
	if err := errors.Join(k.reader.CloseLasting(), k.writer.Close()); err != nil {
		return fmt.Errorf("close nftables: %w", err)
	}
	return nil
}

// do has f talk to the kernel once it is our turn, and again for as long as another program changes nftables while it does.
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
	return fmt.Errorf("%s: %w, %d times in a row; it is tried again with the next change or cycle", operation, errGenerationChanged, maxAttempts)
}

// attempt is an operation on nftables as it is in a snapshot. It says whether it came to a transaction, which the kernel compares with the
// generation itself.
type operationFunc func(at *snapshot) (committed bool, err error)

// once gives errMoved where f may have had parts of different states.
func (k *Kernel) attempt(f operationFunc) error {
	before, err := currentGeneration(k.writer)
	if err != nil {
		return err
	}
	if at := k.cached; at != nil && at.generation == before {
		_, err := f(at)
		if err != nil {
			k.cached = nil // it may be to blame
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
	// The netlink protocol and the inet family may each be missing.
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", ErrNoNftables, err)
	}
	return err
}

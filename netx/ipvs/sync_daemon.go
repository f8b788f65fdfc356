package ipvs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Role is the role of a connection-sync daemon, as the kernel numbers it (linux/ip_vs.h).
type Role uint8

// The roles. One daemon of each may run on a machine.
const (
	Master Role = 1 // sends this machine's connections
	Backup Role = 2 // receives other machines' connections
)

// String returns ipvsadm's name of the role.
func (r Role) String() string {
	switch r {
	case Master:
		return "master"
	case Backup:
		return "backup"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Daemon is a kernel thread that synchronises connections with other balancers, by multicast to 224.0.0.81, UDP port
// 8848.
type Daemon struct {
	Role      Role
	Interface string // 1 to 15 characters
	ID        uint8  // sync ID: daemons with the same one synchronise with each other
}

// String describes the daemon, "backup sync daemon on eth1, id 7".
func (d Daemon) String() string {
	return fmt.Sprintf("%s sync daemon on %s, id %d", d.Role, d.Interface, d.ID)
}

// Errors of sync daemons.
var (
	ErrNoDaemon = errors.New("no such sync daemon is running")
	ErrRunning  = errors.New("a sync daemon of that role is already running")
)

// Numbers of linux/ip_vs.h for sync daemons.
const (
	cmdNewDaemon = 9
	cmdDelDaemon = 10
	cmdGetDaemon = 11

	attrDaemon = 3 // in a command

	attrDaemonState     = 1 // 32 bits, a Role
	attrDaemonInterface = 2 // zero-terminated
	attrDaemonID        = 3 // 32 bits

	maxInterfaceName = 15 // IP_VS_IFNAME_MAXLEN without the terminating zero byte
)

const (
	opListDaemons = "list daemons"
	opStartDaemon = "start daemon"
	opStopDaemon  = "stop daemon"
)

func startError(d Daemon, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("start the %s: %w", d, err)
}

func stopError(r Role, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stop the %s sync daemon: %w", r, err)
}

func listError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("list the sync daemons: %w", err)
}

// errMixedFamilies is why the kernel refuses either connection sync or a destination of the other IP version: sync
// messages have no room for two families.
func errMixedFamilies() error {
	return fmt.Errorf("%w: a service has destinations of the other IP version, which connection sync does not support: "+
		"remove these destinations or turn sync off", ErrInvalid)
}

func validateRole(r Role) error {
	if r != Master && r != Backup {
		return fmt.Errorf("%w: %s is neither master (1) nor backup (2)", ErrInvalid, r)
	}
	return nil
}

func validateDaemon(d Daemon) error {
	if err := validateRole(d.Role); err != nil {
		return err
	}
	if d.Interface == "" || len(d.Interface) > maxInterfaceName || strings.ContainsRune(d.Interface, 0) {
		return fmt.Errorf("%w: %q is not a valid interface name", ErrInvalid, d.Interface)
	}
	return nil
}

// Daemons implements Table.
func (k *Kernel) Daemons(ctx context.Context) ([]Daemon, error) {
	var found []Daemon
	err := k.withLock(ctx, func() error {
		var err error
		found, err = k.daemons()
		return k.explainErrno(err, nil)
	})
	sortDaemons(found)
	return found, listError(err)
}

// daemons returns the running daemons in the kernel's order.
func (k *Kernel) daemons() ([]Daemon, error) {
	var found []Daemon
	err := k.conn.dump(k.family, func(b attributes) attributes { return b.command(cmdGetDaemon) }, func(data []byte) error {
		d, err := decodeDaemon(data)
		found = append(found, d)
		return err
	})
	return found, err
}

// StartDaemon implements Table.
func (k *Kernel) StartDaemon(ctx context.Context, d Daemon) error {
	return startError(d, k.withLock(ctx, func() error {
		if err := validateDaemon(d); err != nil {
			return err
		}
		err := k.sendDaemonCommand(cmdNewDaemon, d)
		switch {
		case errors.Is(err, unix.EEXIST):
			return ErrRunning
		case errors.Is(err, unix.ENODEV):
			return fmt.Errorf("%w: interface %s does not exist or is down (%w)", ErrInvalid, d.Interface, err)
		case errors.Is(err, unix.EINVAL):
			return errMixedFamilies()
		}
		return k.explainErrno(err, nil)
	}))
}

// StopDaemon implements Table.
func (k *Kernel) StopDaemon(ctx context.Context, r Role) error {
	return stopError(r, k.withLock(ctx, func() error {
		if err := validateRole(r); err != nil {
			return err
		}
		err := k.sendDaemonCommand(cmdDelDaemon, Daemon{Role: r})
		switch {
		case errors.Is(err, unix.ESRCH):
			return ErrNoDaemon
		case errors.Is(err, errReplyLost):
			// If the daemon's thread has not run yet, stopping it is interrupted (kthread_stop returns EINTR), for
			// which netlink sends no response.
			running, failed := k.daemons()
			if failed == nil && !slices.ContainsFunc(running, func(d Daemon) bool { return d.Role == r }) {
				return nil
			}
		}
		return k.explainErrno(err, nil)
	}))
}

// sendDaemonCommand sends one command for a daemon.
func (k *Kernel) sendDaemonCommand(command uint8, d Daemon) error {
	return k.conn.exchange(k.family, 1, func(b attributes, _ int) attributes { return encodeDaemon(b.command(command), d) })[0]
}

func encodeDaemon(b attributes, d Daemon) attributes {
	b, at := b.beginNested(attrDaemon)
	b = b.uint32(attrDaemonState, uint32(d.Role)).cString(attrDaemonInterface, d.Interface)
	return b.uint32(attrDaemonID, uint32(d.ID)).endNested(at)
}

func decodeDaemon(data []byte) (Daemon, error) {
	var d Daemon
	var inner error
	err := forEachAttribute(data, func(kind uint16, value []byte) {
		if kind != attrDaemon {
			return
		}
		inner = forEachAttribute(value, func(kind uint16, value []byte) {
			switch kind {
			case attrDaemonState:
				d.Role = Role(uintValue(value))
			case attrDaemonInterface:
				d.Interface = string(bytes.TrimRight(value, "\x00"))
			case attrDaemonID:
				d.ID = uint8(uintValue(value))
			}
		})
	})
	return d, errors.Join(err, inner)
}

func sortDaemons(ds []Daemon) {
	slices.SortFunc(ds, func(a, b Daemon) int { return int(a.Role) - int(b.Role) })
}

// Daemons implements Table.
func (m *Memory) Daemons(ctx context.Context) ([]Daemon, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.recordCall(ctx, Call{Operation: opListDaemons}); err != nil {
		return nil, listError(err)
	}
	return slices.Clone(m.daemons), nil
}

// StartDaemon implements Table. Every interface exists.
func (m *Memory) StartDaemon(ctx context.Context, d Daemon) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.recordCall(ctx, Call{Operation: opStartDaemon})
	if err == nil {
		err = validateDaemon(d)
	}
	switch {
	case err != nil:
	case slices.ContainsFunc(m.daemons, func(o Daemon) bool { return o.Role == d.Role }):
		err = ErrRunning
	case slices.ContainsFunc(m.services, func(s Service) bool {
		return slices.ContainsFunc(s.Destinations, func(d Destination) bool { return FamilyOf(d.Address) != s.Family })
	}):
		err = errMixedFamilies()
	default:
		m.daemons = append(m.daemons, d)
		sortDaemons(m.daemons)
	}
	return startError(d, err)
}

// StopDaemon implements Table.
func (m *Memory) StopDaemon(ctx context.Context, r Role) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.recordCall(ctx, Call{Operation: opStopDaemon})
	if err == nil {
		err = validateRole(r)
	}
	if err != nil {
		return stopError(r, err)
	}
	before := len(m.daemons)
	m.daemons = slices.DeleteFunc(m.daemons, func(d Daemon) bool { return d.Role == r })
	if len(m.daemons) == before {
		return stopError(r, ErrNoDaemon)
	}
	return nil
}

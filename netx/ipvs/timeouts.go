package ipvs

import (
	"context"
	"fmt"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// Timeouts are how long the kernel remembers connections without packets, in whole seconds. They apply to all services of a machine, to
// each connection from its next packet on.
type Timeouts struct {
	TCP    time.Duration // open
	TCPFin time.Duration // after a FIN
	UDP    time.Duration
}

// DefaultTimeouts are those of a new network namespace.
func DefaultTimeouts() Timeouts {
	return Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute}
}

// With returns the timeouts after those of changes that are not 0 were set.
func (o Timeouts) With(changes Timeouts) Timeouts {
	for _, t := range []struct{ timeout, change *time.Duration }{
		{&o.TCP, &changes.TCP}, {&o.TCPFin, &changes.TCPFin}, {&o.UDP, &changes.UDP},
	} {
		if *t.change != 0 {
			*t.timeout = *t.change
		}
	}
	return o
}

// TimeoutTable is the part of a Table that concerns timeouts.
type TimeoutTable interface {
	// Timeouts returns the kernel's timeouts.
	Timeouts(ctx context.Context) (Timeouts, error)
	// SetTimeouts sets those timeouts that are not 0.
	SetTimeouts(ctx context.Context, o Timeouts) error
}

// maxConnTimeout is the limit of a kernel with 1000 ticks per second: it counts them in 31 bits.
const maxConnTimeout = (1<<31 - 1) * time.Millisecond

func validateTimeouts(o Timeouts) error {
	for _, t := range []time.Duration{o.TCP, o.TCPFin, o.UDP} {
		if t < 0 || t%time.Second != 0 || t > maxConnTimeout {
			return fmt.Errorf("%w: a timeout of %s is not in whole seconds, or above 24 days", ErrInvalid, t)
		}
	}
	return nil
}

// Numbers of linux/ip_vs.h for timeouts.
const (
	cmdSetConfig = 12
	cmdGetConfig = 13

	attrTimeoutTCP    = 4 // in a command: seconds, 32 bits; a new 0 keeps the present one
	attrTimeoutTCPFin = 5
	attrTimeoutUDP    = 6
)

const (
	opReadTimeouts = "read timeouts"
	opSetTimeouts  = "set timeouts"
)

func timeoutsError(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s of connections: %w", operation, err)
}

// Timeouts implements TimeoutTable.
func (k *Kernel) Timeouts(ctx context.Context) (Timeouts, error) {
	var o Timeouts
	err := k.withLock(ctx, func() error {
		messages, err := k.genl.Execute(genetlink.Message{Header: genetlink.Header{Command: cmdGetConfig, Version: genlVersion}},
			k.family, netlink.Request)
		if err != nil {
			return k.explainErrno(err, nil)
		}
		for _, m := range messages {
			if o, err = decodeTimeouts(m.Data); err != nil {
				return err
			}
		}
		return nil
	})
	return o, timeoutsError(opReadTimeouts, err)
}

// SetTimeouts implements TimeoutTable.
func (k *Kernel) SetTimeouts(ctx context.Context, o Timeouts) error {
	return timeoutsError(opSetTimeouts, k.withLock(ctx, func() error {
		if err := validateTimeouts(o); err != nil {
			return err
		}
		body := func(b attributes, _ int) attributes { return encodeTimeouts(b.command(cmdSetConfig), o) }
		return k.explainErrno(k.conn.exchange(k.family, 1, body)[0], nil)
	}))
}

func encodeTimeouts(b attributes, o Timeouts) attributes {
	b = b.uint32(attrTimeoutTCP, uint32(o.TCP/time.Second))
	b = b.uint32(attrTimeoutTCPFin, uint32(o.TCPFin/time.Second))
	return b.uint32(attrTimeoutUDP, uint32(o.UDP/time.Second))
}

func decodeTimeouts(data []byte) (Timeouts, error) {
	var o Timeouts
	err := forEachAttribute(data, func(kind uint16, value []byte) {
		timeout := time.Duration(uintValue(value)) * time.Second
		switch kind {
		case attrTimeoutTCP:
			o.TCP = timeout
		case attrTimeoutTCPFin:
			o.TCPFin = timeout
		case attrTimeoutUDP:
			o.UDP = timeout
		}
	})
	return o, err
}

// Timeouts implements TimeoutTable.
func (m *Memory) Timeouts(ctx context.Context) (Timeouts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.recordCall(ctx, Call{Operation: opReadTimeouts}); err != nil {
		return Timeouts{}, timeoutsError(opReadTimeouts, err)
	}
	return m.timeouts, nil
}

// SetTimeouts implements TimeoutTable.
func (m *Memory) SetTimeouts(ctx context.Context, o Timeouts) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.recordCall(ctx, Call{Operation: opSetTimeouts})
	if err == nil {
		err = validateTimeouts(o)
	}
	if err == nil {
		m.timeouts = m.timeouts.With(o)
	}
	return timeoutsError(opSetTimeouts, err)
}

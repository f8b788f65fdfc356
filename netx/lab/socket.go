package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Dial connects from the host; network and address are as for net.Dial, but an IP address must be written out, since names would be
// looked up outside. A Unix socket's path is one on the host. The connection lives on the host; the caller closes it.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(network, "unix") {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return nil, fmt.Errorf("%s: dial %s: want an IP address and a port: %w", h.name, address, err)
		}
	}
	ctx, cancel := h.untilClosed(ctx)
	defer cancel()
	var conn net.Conn
	err := h.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	return conn, nil
}

// Listen listens on the host; network and address are as for net.Listen, without host names. The caller closes the listener.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var l net.Listener
	err := h.Do(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	return l, nil
}

// ListenPacket is Listen for packets, as net.ListenPacket.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := h.Do(func() (err error) {
		var lc net.ListenConfig
		c, err = lc.ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	return c, nil
}

// untilClosed bounds a context by the host's life.
func (h *Host) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.namespaces.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Dial connects from the host. Network and address are as in net.Dial, but IP addresses must be literal: names would be resolved outside
// the host. The path of a Unix socket is in the host's file system. The caller closes the connection.
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

// Listen listens on the host. Network and address are as in net.Listen, without host names. The caller closes the listener.
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

// ListenPacket listens for packets on the host, like net.ListenPacket. The caller closes the connection.
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

// untilClosed returns a context that also ends when the host is closed.
func (h *Host) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.namespaces.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

//go:build lab

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/lab"
)

// One-to-one SCTP sockets (RFC 6458) behave like TCP sockets except in how they are created, and package net treats them as such. Each
// is bound to one address: an association may use all addresses of its ends, including those without a route through the virtual IP.

// listenSCTP listens on an address of a host until the test ends.
func listenSCTP(t *testing.T, h *lab.Host, at netip.AddrPort) net.Listener {
	t.Helper()
	var l net.Listener
	err := h.Do(func() error {
		file, err := socketSCTP(at)
		if err != nil {
			return err
		}
		defer file.Close() // the listener has its own descriptor
		if err := unix.Listen(int(file.Fd()), 64); err != nil {
			return err
		}
		l, err = net.FileListener(file)
		return err
	})
	if err != nil {
		t.Fatalf("listen for SCTP on %s of %s: %v", at, h.Name(), err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// dialSCTP opens an association from an address of a host. Connect blocks until the kernel gives up.
func dialSCTP(h *lab.Host, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() error {
		file, err := socketSCTP(netip.AddrPortFrom(from, 0))
		if err != nil {
			return err
		}
		defer file.Close() // the connection has its own descriptor
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Connect(int(file.Fd()), sockaddr(to))
		}
		if err != nil && err != unix.EISCONN {
			return os.NewSyscallError("connect", err)
		}
		c, err = net.FileConn(file)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("SCTP from %s to %s: %w", from, to, err)
	}
	return c, nil
}

// socketSCTP creates a socket bound to an address, on the calling thread's host.
func socketSCTP(at netip.AddrPort) (*os.File, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "sctp")
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		_ = file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return file, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

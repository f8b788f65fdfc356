package watch

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// fromPeer reports whether an error was caused by what the other kernel sent: it refused, reset or closed the connection, or sent
// something unusable. Timeouts and what this kernel found out by itself, such as an address that does not respond to ARP, are not.
func fromPeer(err error) bool {
	var errno syscall.Errno
	switch {
	case isTimeout(err):
		return false
	case errors.As(err, &errno):
		return errno == syscall.ECONNREFUSED || errno == syscall.ECONNRESET || errno == syscall.EPIPE
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// acknowledged reports whether the other kernel has acknowledged everything that was sent to it. It is true for what is not a TCP socket.
func acknowledged(c net.Conn) bool {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	info, err := tcpInfo(raw)
	return err != nil || info.Unacked == 0
}

// tcpInfo reads what the kernel knows about a connection.
func tcpInfo(raw syscall.RawConn) (info *unix.TCPInfo, err error) {
	var optErr error
	err = raw.Control(func(fd uintptr) { info, optErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(err, optErr)
}

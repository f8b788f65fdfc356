package listen

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// userTimeout is how long sent data may stay unacknowledged. The kernel's default, about 15 minutes, would let
	// balancers that lost power use up all connections.
	userTimeout = 15 * time.Second
	// keepAliveInterval is the idle time before the first keep-alive probe, and between probes. Go's default.
	keepAliveInterval = 15 * time.Second
)

// listenConfig returns the configuration of all TCP listeners. Go does not set keep-alive options per connection,
// because accepted connections inherit them from the listener. Multipath TCP is off: it makes plain connections more
// expensive and does not support these options.
func listenConfig() *net.ListenConfig {
	c := &net.ListenConfig{KeepAlive: -1}
	c.SetMultipathTCP(false)
	return c
}

// setUserTimeout makes the kernel close connections to unresponsive peers. Accepted connections inherit the options of
// l, see tcp(7). Errors are ignored: an inherited Multipath TCP socket keeps the kernel's defaults.
func setUserTimeout(l *net.TCPListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return // already closed
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveInterval.Seconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval.Seconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}

// deferAccept holds back a new connection until the client has sent data, or for about one second, see TCP_DEFER_ACCEPT
// in tcp(7): the accepting goroutine then wakes up once instead of twice. Only for protocols in which the client sends
// first.
func deferAccept(l *net.TCPListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return // already closed
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1) // best effort, it only saves a wake-up
	})
}

package listen

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// deadTime is how long the kernel waits for a client's machine to acknowledge what was sent. Its own default, a quarter of an
	// hour, would let balancers that lost their power fill up the connections.
	userTimeout = 15 * time.Second
	// probeTime is after how long without a word, and how often then, the kernel asks whether a client's machine is still there; Go's
	// own default.
	keepAliveInterval = 15 * time.Second
)

// plain is how TCP is bound. Go's own calls to set up the keep-alive probes of each connection are left out, for the listener hands its
// own down. Multipath TCP is off: it makes plain connections dearer, and knows no such options.
func listenConfig() *net.ListenConfig {
	c := &net.ListenConfig{KeepAlive: -1}
	c.SetMultipathTCP(false)
	return c
}

// leaveTheDead has the kernel close connections whose other end no longer answers: those that l accepts have the options of l, see tcp(7).
// Where the kernel cannot (for a socket of the service manager that is for Multipath TCP) it keeps to its own defaults.
func setUserTimeout(l *net.TCPListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveInterval.Seconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval.Seconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}

// leaveTheSilent has the kernel keep a connection to itself until its client has said something, or a second has gone by: whoever accepts
// it then wakes up once and not twice, see TCP_DEFER_ACCEPT in tcp(7). It is for protocols in which the client speaks first.
func deferAccept(l *net.TCPListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1) // a kernel that cannot just has more to do
	})
}

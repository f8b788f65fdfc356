package balancer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxConns    = 256             // on each listener; more have to wait
	dialTimeout = 2 * time.Second // for asking whether the control socket is alive
)

// listenTCP binds the address for reads.
func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s (balancer.listen): the port is in use: find the program with `ss -ltnp`, or set another port", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s (balancer.listen): this machine has no such address: set one that `ip address` shows", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s (balancer.listen): not allowed: take a port above 1023, or run with CAP_NET_BIND_SERVICE", address)
	case err != nil:
		return nil, fmt.Errorf("listen on %s (balancer.listen): %w", address, err)
	}
	return l, nil
}

// nobodyAnswers makes sure that no other balancer lives behind the control socket.
func nobodyAnswers(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("another lb balance is running: it answers on %s (balancer.control); stop it first, or reload it with SIGHUP", path)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("another lb balance is running but hangs: it holds %s (balancer.control); stop it first", path)
	}
	return nil
}

// listenControl binds the Unix socket for changes, in place of a stale one.
func listenControl(ctx context.Context, path string) (net.Listener, error) {
	fail := func(err error) error {
		return fmt.Errorf("listen on %s (balancer.control): %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fail(err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fail(err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fail(errors.New("something that is no socket is there: move it away, or set another path"))
	default:
		if err := os.Remove(path); err != nil { // nobodyAnswers on it
			return nil, fail(err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fail(err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fail(err), l.Close())
	}
	return l, nil
}

// peer names the process at the other end of a Unix connection; "" when it cannot be known.
func peer(conn net.Conn) string {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return ""
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return ""
	}
	var cred *unix.Ucred
	if control := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); control != nil || err != nil {
		return ""
	}
	return fmt.Sprintf("user %d, process %d", cred.Uid, cred.Pid)
}

// limited is a listener with at most so many connections at a time.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l net.Listener, most int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for a free slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close ends Accept, also while it waits for a slot.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	free func()
}

func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

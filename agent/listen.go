package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what clients may take up. Answers come from memory and are small, so the times are for slow networks, not slow work.
const (
	maxReaders  = 1024 // connections over TCP at one time; further ones wait to be accepted
	maxChangers = 64   // the same over the Unix socket

	readHeaderTime = 5 * time.Second
	readTime       = 10 * time.Second
	writeTime      = 10 * time.Second
	idleTime       = 2 * time.Minute // longer than any sensible check interval, so that balancers keep their connections
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10

	controlMode = 0o660
	liveTime    = time.Second // for a live agent to accept a connection
	maxUnixPath = 107         // bytes of a socket's path that Linux takes
)

// newServer makes the server for one of the two ways in.
func (a *Agent) newServer(over way) *http.Server {
	return &http.Server{
		Handler:           a.handler(over),
		ReadHeaderTimeout: readHeaderTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug), // what clients do wrong is not news
	}
}

// listenTCP binds the address for reads.
func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		return nil, fmt.Errorf("listen on %s: the port is in use: see who has it with `ss -ltnp sport = :%s` and stop that, or set agent.listen to another", address, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine does not have that address: set agent.listen to one that it has, or to \":PORT\" for all", address)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("listen on %s: not permitted: set agent.listen to a port above 1023, or give lb CAP_NET_BIND_SERVICE", address)
	}
	return nil, fmt.Errorf("listen on %s: %w: set agent.listen to an address of this machine", address, err)
}

// listenControl binds the Unix socket for changes. What a dead agent left there is replaced.
func listenControl(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxUnixPath {
		return nil, fmt.Errorf("listen on %s: the path has more than %d bytes: set agent.control to a shorter one", path, maxUnixPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the control socket: %w: make it as root, or set agent.control to another place", err)
	}
	if err := clearSocket(ctx, path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: set agent.control to a path where lb may write", path, err)
	}
	if err := os.Chmod(path, controlMode); err != nil {
		return nil, errors.Join(fmt.Errorf("set the mode of the control socket: %w", err), l.Close())
	}
	return l, nil
}

// clearSocket removes the socket of a dead agent. That of a live one, and anything else, stays and is an error.
func clearSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for another agent at %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: something that is no socket is there: move it away, or set agent.control to another path", path)
	}
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("listen on %s: another agent is running there: stop it first, or set agent.control, agent.listen and agent.data_dir to others", path), conn.Close())
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the socket that a dead agent left: %w", err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("listen on %s: another agent seems to be running there: %w: stop it first, or set agent.control to another path", path, err)
}

// limit lets at most n connections be open at one time.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{} // holds one for each open connection
	once   sync.Once
	closed chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// peerKey is where the credentials of a Unix socket's peer are kept in a connection's context.
type peerKey struct{}

// withPeer keeps who is at the other end of a Unix socket, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if lc, ok := c.(*limitedConn); ok {
		c = lc.Conn
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, *cred)
}

// peer names who sent a request: "uid 0 (pid 42)" over the Unix socket, the address over TCP.
func peer(r *http.Request) string {
	if cred, ok := r.Context().Value(peerKey{}).(unix.Ucred); ok {
		return fmt.Sprintf("uid %d (pid %d)", cred.Uid, cred.Pid)
	}
	return r.RemoteAddr
}

// Package listen binds the addresses that a daemon answers on, bounds what clients may take up there, tells who they are, and reads what
// they send with a change.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	controlMode = 0o660
	liveTime    = 2 * time.Second // for a live daemon to accept a connection
	holdTime    = 3 * liveTime    // for others to let go of the folder of the control socket
	maxUnixPath = 107             // bytes of a socket's path that Linux takes
)

// Daemon is who listens, in the words of errors.
type Daemon struct {
	Name    string // such as "lb balance"
	Section string // of the configuration: "agent" or "balancer"

	Sockets *Sockets // what stands here for a key is used instead of the address that the configuration has
}

// TCP binds the address for reads over HTTP.
func (d Daemon) ListenHTTP(ctx context.Context, address string) (net.Listener, error) {
	l, err := d.ListenTCP(ctx, d.Section+".listen", address)
	if err != nil {
		return nil, err
	}
	leaveTheSilent(l.(*net.TCPListener))
	return l, nil
}

// Port binds a TCP address that the configuration has at key.
func (d Daemon) ListenTCP(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := inherited[*net.TCPListener](d.Sockets, key, "TCP")
	if l == nil && err == nil {
		l, err = bind(ctx, key, address)
	}
	if err != nil {
		return nil, err
	}
	leaveTheDead(l.(*net.TCPListener))
	return l, nil
}

// bind binds a TCP address.
func bind(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := plain().Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		return nil, fmt.Errorf("listen on %s: the port is in use: see who has it with `ss -ltnp sport = :%s` and stop that, or set %s to another", address, port, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine does not have that address: set %s to one that `ip address` shows, or to \":PORT\" for all", address, key)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("listen on %s: not permitted: set %s to a port above 1023, or give lb CAP_NET_BIND_SERVICE", address, key)
	}
	return nil, fmt.Errorf("listen on %s: %w: set %s to an address of this machine", address, err, key)
}

// Control binds the Unix socket for changes, as the control group's where the keys have one. What a dead daemon left there is
// replaced.
func (d Daemon) ListenControl(ctx context.Context, path string, k *Policy) (net.Listener, error) {
	key := d.Section + ".control"
	if l, err := inherited[*net.UnixListener](d.Sockets, key, "Unix"); l != nil || err != nil {
		return l, err
	}
	if len(path) > maxUnixPath {
		return nil, fmt.Errorf("listen on %s: the path has more than %d bytes: set %s to a shorter one", path, maxUnixPath, key)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the control socket: %w: make it as root, or set %s to another place", err, key)
	}
	folder, err := d.hold(ctx, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close() // which lets go of it
	if err := d.clear(ctx, path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: set %s to a path where lb may write", path, err, key)
	}
	if err := d.open(path, k); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// hold keeps other daemons from looking for a socket in a folder, or putting one there, until what it returns is closed. One that has bound its
// socket and does not listen yet looks dead: of two that start at one moment, the later would take the other's away, and nobody could reach that.
func (d Daemon) hold(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("look into the folder of the control socket: %w: make it readable for lb, or set %s.control to another place", err, d.Section)
	}
	again := time.NewTicker(holdTime / 1000)
	defer again.Stop()
	for {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return folder, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock the folder %s of the control socket: %w: set %s.control to another place", dir, err, d.Section), folder.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock the folder %s of the control socket: another process has it locked: see which with `lslocks`, or set %s.control to another place", dir, d.Section), folder.Close())
		}
	}
}

// open lets owner and group of the control socket connect. The group is changed only where it has to be: the daemon may have it as its
// own, and lack the right to change it.
func (d Daemon) open(path string, k *Policy) error {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return fmt.Errorf("look at the control socket %s: %w", path, err)
	}
	if k.hasGroup && stat.Gid != k.group {
		if err := os.Chown(path, -1, int(k.group)); err != nil {
			return fmt.Errorf("give the control socket to the group of %s.control_group: %w: run the daemon with that group, in systemd by Group= in a drop-in of its unit", d.Section, err)
		}
	}
	if err := os.Chmod(path, controlMode); err != nil {
		return fmt.Errorf("set the mode of the control socket: %w", err)
	}
	return nil
}

// clear removes the socket of a dead daemon. That of a live one, and anything else, stays and is an error.
func (d Daemon) clear(ctx context.Context, path string) error {
	key := d.Section + ".control"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for another %s at %s: %w", d.Name, path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: something that is no socket is there: move it away, or set %s to another path", path, key)
	}
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("listen on %s: another %s is running there: stop it first, reload it with SIGHUP, or set %s to another path", path, d.Name, key), conn.Close())
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the socket that a dead %s left: %w", d.Name, err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("listen on %s: another %s is running there but hangs: stop it first, or set %s to another path", path, d.Name, key)
	}
	return fmt.Errorf("listen on %s: another %s seems to be running there: %w: stop it first, or set %s to another path", path, d.Name, err, key)
}

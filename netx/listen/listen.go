// Package listen binds a daemon's addresses, limits what clients may use, identifies and authorizes them, and parses
// the parameters of their changes.
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
	controlSocketMode = 0o660
	dialTimeout       = 2 * time.Second // for a running daemon to accept a connection
	lockTimeout       = 3 * dialTimeout // for other processes to unlock the folder of the control socket
	maxSocketPath     = 107             // bytes of a socket path, see unix(7)
)

// Daemon names the listening daemon in errors.
type Daemon struct {
	Name    string // for example "lb balance"
	Section string // of the configuration: "agent", "balancer" or "clusters.NAME.downpage"

	Sockets *Sockets // replace the configured addresses; nil: none
}

// ListenHTTP binds the address for reads over HTTP.
func (d Daemon) ListenHTTP(ctx context.Context, address string) (net.Listener, error) {
	l, err := d.ListenTCP(ctx, d.Section+".listen", address)
	if err != nil {
		return nil, err
	}
	deferAccept(l.(*net.TCPListener))
	return l, nil
}

// ListenTCP binds the TCP address that the configuration has under key.
func (d Daemon) ListenTCP(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := claim[*net.TCPListener](d.Sockets, key, "TCP")
	if l == nil && err == nil {
		l, err = listenTCP(ctx, key, address)
	}
	if err != nil {
		return nil, err
	}
	setUserTimeout(l.(*net.TCPListener))
	return l, nil
}

// listenTCP binds a TCP address.
func listenTCP(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := listenConfig().Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		return nil, fmt.Errorf("listen on %s: the port is in use: "+
			"find its owner with `ss -ltnp sport = :%s` and stop it, or set %s to another address", address, port, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine does not have that address: "+
			"set %s to one that `ip address` shows, or to \":PORT\" for all", address, key)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("listen on %s: not permitted: set %s to a port above 1023, or give lb CAP_NET_BIND_SERVICE", address, key)
	}
	return nil, fmt.Errorf("listen on %s: %w: set %s to an address of this machine", address, err, key)
}

// ListenControl binds the Unix socket for changes and gives it to the control group, if the policy has one. It replaces
// a stale socket.
func (d Daemon) ListenControl(ctx context.Context, path string, p *Policy) (net.Listener, error) {
	key := d.Section + ".control"
	if l, err := claim[*net.UnixListener](d.Sockets, key, "Unix"); l != nil || err != nil {
		return l, err
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path is longer than %d bytes: set %s to a shorter one", path, maxSocketPath, key)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create the folder of the control socket: %w: create it as root, or set %s to another path", err, key)
	}
	folder, err := d.lockDir(ctx, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close() // which unlocks it
	if err := d.removeStaleSocket(ctx, path); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: set %s to a path where lb may write", path, err, key)
	}
	if err := d.setPermissions(path, p); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// lockDir keeps other daemons from checking for a socket in a folder or creating one there, until the returned file is
// closed. A daemon that has bound its socket but does not listen yet looks dead: of two that start together, the later
// one would otherwise remove the other's socket and make it unreachable.
func (d Daemon) lockDir(ctx context.Context, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of the control socket: %w: make it readable for lb, or set %s.control to another path",
			err, d.Section)
	}
	retry := time.NewTicker(lockTimeout / 1000)
	defer retry.Stop()
	for {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return folder, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock the folder %s of the control socket: %w: set %s.control to another path",
				dir, err, d.Section), folder.Close())
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock the folder %s of the control socket: another process holds the lock: "+
				"find it with `lslocks`, or set %s.control to another path", dir, d.Section), folder.Close())
		}
	}
}

// setPermissions lets the owner and group of the control socket connect. It changes the group only if necessary: a
// daemon that runs with that group already may lack the privilege to change it.
func (d Daemon) setPermissions(path string, p *Policy) error {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return fmt.Errorf("inspect the control socket %s: %w", path, err)
	}
	if p.hasGroup && stat.Gid != p.group {
		if err := os.Chown(path, -1, int(p.group)); err != nil {
			return fmt.Errorf("change the group of the control socket to that of %s.control_group: %w: "+
				"run the daemon with that group, under systemd with Group= in a drop-in for its unit", d.Section, err)
		}
	}
	if err := os.Chmod(path, controlSocketMode); err != nil {
		return fmt.Errorf("set the mode of the control socket: %w", err)
	}
	return nil
}

// removeStaleSocket removes the socket of a dead daemon. The socket of a running one, or anything else there, is an
// error.
func (d Daemon) removeStaleSocket(ctx context.Context, path string) error {
	key := d.Section + ".control"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check for another %s at %s: %w", d.Name, path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: a file that is not a socket exists there: move it away, or set %s to another path", path, key)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("listen on %s: another %s is running there: "+
			"stop it first, reload it with SIGHUP, or set %s to another path", path, d.Name, key), conn.Close())
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the stale socket of a dead %s: %w", d.Name, err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("listen on %s: another %s is running there but does not respond: stop it first, or set %s to another path",
			path, d.Name, key)
	}
	return fmt.Errorf("listen on %s: another %s seems to be running there: %w: stop it first, or set %s to another path",
		path, d.Name, err, key)
}

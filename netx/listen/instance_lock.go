package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// LockInstance makes sure that no other daemon of this name runs in this network namespace; two would undo each other's
// changes to the kernel. The lock is released when the returned Closer is closed or the process ends, however it ends.
//
// The lock is an abstract Unix socket (unix(7)): each network namespace has its own, and it leaves no file behind.
func (d Daemon) LockInstance(ctx context.Context) (io.Closer, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", "@"+d.Name)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another %s runs in this network namespace with a different control socket: "+
			"find it with `ss -xlp src %q` and stop it, since two would undo each other's changes", d.Name, "@"+d.Name)
	case err != nil:
		return nil, fmt.Errorf("check for another %s: %w", d.Name, err)
	}
	return l, nil
}

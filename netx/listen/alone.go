package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// Alone makes sure that no other daemon of this name works on this network namespace, where each would undo what the other does to the
// kernel. What it returns holds the place until it is closed or the process ends, however that ends.
//
// The place is an abstract Unix socket (unix(7)): every network namespace has its own, and no file is left behind.
func (d Daemon) LockInstance(ctx context.Context) (io.Closer, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", "@"+d.Name)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another %s runs in this network namespace, with another control socket: see who has it with `ss -xlp src %q` and stop that, for two would undo each other's work", d.Name, "@"+d.Name)
	case err != nil:
		return nil, fmt.Errorf("look for another %s: %w", d.Name, err)
	}
	return l, nil
}

package listen

import (
	"net"
	"sync"
	"sync/atomic"
)

// Limit allows at most n open connections of l; further ones wait to be accepted.
func Limit(l net.Listener, n int) net.Listener {
	return &limitListener{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	slots  chan struct{} // one element per open connection
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a free slot, then for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
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
	return &limitConn{Conn: c, listener: l}, nil
}

// Close ends Accept, even while it waits for a slot.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitConn releases its slot when it is closed.
type limitConn struct {
	net.Conn
	listener *limitListener
	released atomic.Bool // the slot was released
}

func (c *limitConn) Close() error {
	defer func() {
		if !c.released.Swap(true) {
			<-c.listener.slots
		}
	}()
	return c.Conn.Close()
}

// NetConn returns the underlying connection.
func (c *limitConn) NetConn() net.Conn { return c.Conn }

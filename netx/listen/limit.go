package listen

import (
	"net"
	"sync"
	"sync/atomic"
)

// Limit lets at most n connections of l be open at one time; further ones wait to be accepted.
func Limit(l net.Listener, n int) net.Listener {
	return &limitListener{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	slots  chan struct{} // holds one for each open connection
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

// Close ends Accept, also while it waits for a slot.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed.
type limitConn struct {
	net.Conn
	listener *limitListener
	released atomic.Bool // it has given its slot back
}

func (c *limitConn) Close() error {
	defer func() {
		if !c.released.Swap(true) {
			<-c.listener.slots
		}
	}()
	return c.Conn.Close()
}

// NetConn returns the connection itself.
func (c *limitConn) NetConn() net.Conn { return c.Conn }

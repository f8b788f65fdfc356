package listen

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// handshakeRecord is the first byte of every TLS connection: a record of type handshake (RFC 8446, section 5.1). No request of
// plain HTTP begins with it.
const handshakeRecord = 0x16

// Secure lets the clients of l speak TLS, once there are certificates for it, or plain HTTP, as they begin. So whoever polls goes
// on as before when TLS is set up.
func (g *Authorizer) OptionalTLS(l net.Listener) net.Listener { return &secured{l, g} }

type secured struct {
	net.Listener
	guard *Authorizer
}

func (l *secured) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &securedConn{Conn: c, guard: l.guard}, nil
}

// securedConn is TLS or not, which its first byte says. It is read by one goroutine at a time, the server's.
type securedConn struct {
	net.Conn // as it comes from the network; deadlines are its own
	guard    *Authorizer
	begun    bool                     // the first byte was read
	secure   atomic.Pointer[tls.Conn] // nil: plain, or not begun
}

// Read begins TLS where the first byte asks for it, within the deadline that the server set for a request's headers.
func (c *securedConn) Read(p []byte) (int, error) {
	if t := c.secure.Load(); t != nil {
		return t.Read(p)
	}
	config := c.guard.keys.Load().tls
	if c.begun || config == nil || len(p) == 0 {
		c.begun = c.begun || len(p) > 0
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:1])
	if n == 0 || p[0] != handshakeRecord {
		c.begun = n > 0
		return n, err
	}
	c.begun = true
	t := tls.Server(&prefixed{c.Conn, p[0], true}, config)
	c.secure.Store(t)
	if err := c.SetWriteDeadline(time.Now().Add(readHeaderTime)); err != nil {
		return 0, err
	}
	if err := t.Handshake(); err != nil {
		return 0, err
	}
	if err := c.SetWriteDeadline(time.Time{}); err != nil {
		return 0, err
	}
	return t.Read(p)
}

func (c *securedConn) Write(p []byte) (int, error) {
	if t := c.secure.Load(); t != nil {
		return t.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *securedConn) Close() error {
	if t := c.secure.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// NetConn returns the connection itself.
func (c *securedConn) NetConn() net.Conn { return c.Conn }

// prefixed is a connection of which a byte was read already.
type prefixed struct {
	net.Conn
	first   byte
	pending bool // first comes next
}

func (c *prefixed) Read(p []byte) (int, error) {
	if !c.pending || len(p) == 0 {
		return c.Conn.Read(p)
	}
	p[0], c.pending = c.first, false
	return 1, nil
}

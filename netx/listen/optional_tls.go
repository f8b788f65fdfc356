package listen

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// recordTypeHandshake is the first byte of every TLS connection (RFC 8446, section 5.1). No plain HTTP request begins
// with it.
const recordTypeHandshake = 0x16

// OptionalTLS accepts TLS and plain HTTP on one port; the client's first byte decides. TLS is available once the policy
// has a certificate. So clients that poll over plain HTTP keep working when TLS is set up.
func (a *Authorizer) OptionalTLS(l net.Listener) net.Listener { return &sniffListener{l, a} }

type sniffListener struct {
	net.Listener
	authorizer *Authorizer
}

func (l *sniffListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffConn{Conn: c, authorizer: l.authorizer}, nil
}

// sniffConn is a connection whose first byte decides whether it is TLS. Only one goroutine at a time, the server's,
// reads it.
type sniffConn struct {
	net.Conn   // the network connection; deadlines apply to it
	authorizer *Authorizer
	sniffed    bool                     // the first byte was read
	tls        atomic.Pointer[tls.Conn] // nil: plain, or not known yet
}

// Read starts TLS if the first byte asks for it, within the server's deadline for request headers.
func (c *sniffConn) Read(p []byte) (int, error) {
	if t := c.tls.Load(); t != nil {
		return t.Read(p)
	}
	config := c.authorizer.policy.Load().tls
	if c.sniffed || config == nil || len(p) == 0 {
		c.sniffed = c.sniffed || len(p) > 0
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:1])
	if n == 0 || p[0] != recordTypeHandshake {
		c.sniffed = n > 0
		return n, err
	}
	c.sniffed = true
	t := tls.Server(&prefixConn{c.Conn, p[0], true}, config)
	c.tls.Store(t)
	if err := c.SetWriteDeadline(time.Now().Add(readHeaderTimeout)); err != nil {
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

func (c *sniffConn) Write(p []byte) (int, error) {
	if t := c.tls.Load(); t != nil {
		return t.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *sniffConn) Close() error {
	if t := c.tls.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// NetConn returns the underlying connection.
func (c *sniffConn) NetConn() net.Conn { return c.Conn }

// prefixConn is a connection from which one byte was already read.
type prefixConn struct {
	net.Conn
	first   byte
	pending bool // first is returned next
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if !c.pending || len(p) == 0 {
		return c.Conn.Read(p)
	}
	p[0], c.pending = c.first, false
	return 1, nil
}

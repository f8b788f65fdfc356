package fastpath

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readSize is the size of a read, in bytes. Longer requests, and requests that arrive in
	// pieces, are handed over to the server.
	readSize = 1 << 10
	// slack is how late timeouts may be, so that deadlines need not be set for each request.
	slack = time.Second
)

// conn is a connection that the server has not accepted.
type conn struct {
	net.Conn
	listener *Listener
	renew    time.Time   // when to set the deadlines again
	answered atomic.Bool // at least once
}

// buffers are what a connection needs while it is served.
type buffers struct {
	in  [readSize]byte
	out []byte
}

// bufferPool reuses buffers, because most connections are short.
var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

// serve serves requests until the connection ends or is handed over to the server.
func (c *conn) serve() {
	defer c.listener.remove(c)
	bufs := bufferPool.Get().(*buffers)
	defer bufferPool.Put(bufs)
	for {
		n, err := c.Read(bufs.in[:])
		if err != nil {
			break
		}
		rest, ok := c.answer(bufs, bufs.in[:n])
		if len(rest) > 0 {
			c.handOver(rest)
			return
		}
		if !ok || c.listener.stopping.Load() {
			break
		}
	}
	_ = c.Close() // nothing can be done about an error
}

// answer responds to the requests in b. It returns the rest, which the server handles, and whether the connection
// stays open.
func (c *conn) answer(bufs *buffers, b []byte) (rest []byte, ok bool) {
	for len(b) > 0 {
		r, ok := parse(b)
		if !ok {
			return b, true
		}
		now := time.Now()
		answer := c.find(r.path, now)
		if answer == nil {
			return b, true
		}
		closes := r.closes || c.listener.stopping.Load()
		if !closes && now.After(c.renew) {
			if c.extend(now) != nil {
				return nil, false
			}
		}
		bufs.out = answer.appendTo(bufs.out[:0], now, r.http10, closes)
		if _, err := c.Write(bufs.out); err != nil || closes {
			return nil, false
		}
		b = b[r.size:]
	}
	return nil, true
}

// find looks up the response. A panic there ends neither the daemon nor the connection: the request goes to the
// server, where the handler hits and logs the same panic.
func (c *conn) find(path []byte, now time.Time) (found *Answer) {
	defer func() { _ = recover() }() // found is nil then
	return c.listener.find(path, now)
}

// extend sets the deadlines for the next answer and for the request after it.
func (c *conn) extend(now time.Time) error {
	c.answered.Store(true)
	c.renew = now.Add(slack)
	if err := c.SetWriteDeadline(c.renew.Add(c.listener.timeouts.write)); err != nil {
		return err
	}
	return c.SetReadDeadline(c.renew.Add(c.listener.timeouts.idle))
}

// handOver passes the connection to the server, which reads b first.
func (c *conn) handOver(b []byte) {
	if c.SetDeadline(time.Time{}) != nil || !c.listener.pass(accepted{conn: &replayConn{Conn: c.Conn, first: bytes.Clone(b)}}) {
		_ = c.Close()
	}
}

// replayConn is a connection from which some bytes have already been read. Only one goroutine of the server
// reads it at a time.
type replayConn struct {
	net.Conn
	first []byte // the bytes to read again
}

func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}

// NetConn returns the underlying connection.
func (c *replayConn) NetConn() net.Conn { return c.Conn }

package fastpath

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// headSize is how many bytes of requests are read at once. What is longer is the server's, like what comes in pieces.
	headSize = 1 << 10
	// slack is by how much bounds in time may be exceeded, so that they need not be set anew for each request.
	slack = time.Second
)

// conn is a connection that the server does not have yet.
type conn struct {
	net.Conn
	listener *Listener
	renew    time.Time   // when the deadlines are to be set again
	answered atomic.Bool // once at least
}

// scratch is what a connection needs while it is served.
type scratch struct {
	in  [headSize]byte
	out []byte
}

// scratches are for all: most connections are short.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

// serve answers until the connection ends, or is the server's.
func (c *conn) serve() {
	defer c.listener.forget(c)
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for {
		n, err := c.Read(s.in[:])
		if err != nil {
			break
		}
		rest, ok := c.answer(s, s.in[:n])
		if len(rest) > 0 {
			c.hand(rest)
			return
		}
		if !ok || c.listener.stopping.Load() {
			break
		}
	}
	_ = c.Close() // there is nobody to tell
}

// answer answers the requests that b holds. It gives what is left over, which is for the server, and tells whether the connection goes on.
func (c *conn) answer(s *scratch, b []byte) (rest []byte, ok bool) {
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
		s.out = answer.appendTo(s.out[:0], now, r.old, closes)
		if _, err := c.Write(s.out); err != nil || closes {
			return nil, false
		}
		b = b[r.size:]
	}
	return nil, true
}

// find looks the answer up. A panic there ends neither the daemon nor the connection: the server asks for the same thing, and logs what it meets.
func (c *conn) find(path []byte, now time.Time) (found *Answer) {
	defer func() { _ = recover() }() // nothing is found then
	return c.listener.find(path, now)
}

// extend gives a client that is about to be answered time to take that, and to ask again.
func (c *conn) extend(now time.Time) error {
	c.answered.Store(true)
	c.renew = now.Add(slack)
	if err := c.SetWriteDeadline(c.renew.Add(c.listener.bounds.write)); err != nil {
		return err
	}
	return c.SetReadDeadline(c.renew.Add(c.listener.bounds.idle))
}

// hand gives the connection to the server, which reads b first.
func (c *conn) hand(b []byte) {
	if c.SetDeadline(time.Time{}) != nil || !c.listener.give(handed{conn: &replayed{Conn: c.Conn, first: bytes.Clone(b)}}) {
		_ = c.Close()
	}
}

// replayed is a connection of which something was read already. It is read by one goroutine at a time, the server's.
type replayed struct {
	net.Conn
	first []byte // comes before what is read
}

func (c *replayed) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}

// NetConn returns the connection itself.
func (c *replayed) NetConn() net.Conn { return c.Conn }

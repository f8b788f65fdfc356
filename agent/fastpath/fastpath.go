// Package fastpath answers the request that balancers send over and over, GET /SERVICE/status, at minimal
// cost, and leaves all other requests to net/http.
//
// It is the listener of an http.Server. It answers a request itself, in the goroutine that read it, if a
// single read returns the whole request and the request is simple: a GET of a known page in HTTP/1.1 or
// HTTP/1.0 with no header fields other than Host, User-Agent, Accept (without JSON), Accept-Encoding,
// Accept-Language, Cache-Control, Pragma and Connection (close or keep-alive). The answer is the one that
// net/http would send, byte for byte. As soon as anything else arrives, the server accepts the connection,
// reads the same bytes again, and keeps it: TLS, changes, streams, JSON, malformed requests and slow headers
// are handled by net/http only.
//
// The reason is cost. For each request, net/http starts a second goroutine to detect disconnects and
// allocates headers and contexts; for each connection it allocates two buffers and grows new stacks. Together
// these cost more than finding and sending the answer; docs/performance.md has the figures.
package fastpath

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Find returns the answer to a GET of a path, or nil to leave it to the server. It must not keep the path.
// Many goroutines call it.
type Find func(path []byte, now time.Time) *Answer

// Listener is the listener of a server, which gets all connections that need more than the fast path. Serve
// must be running.
type Listener struct {
	net.Listener // the source of connections
	find         Find
	timeouts     timeouts

	accepted chan accepted // for Accept
	closed   chan struct{} // closed by Close
	end      func()        // closes closed, once
	unbind   func() error  // closes Listener, once

	served   chan struct{} // closed when Serve returns
	stopping atomic.Bool   // connections end after their next answer
	open     sync.WaitGroup
	mu       sync.Mutex // protects conns
	conns    map[*conn]struct{}
}

// timeouts are the server's.
type timeouts struct {
	header time.Duration // to receive the first request
	write  time.Duration // to send an answer
	idle   time.Duration // between requests
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// New returns the listener for a server. Connections come from l. The server must have all timeouts set; the
// fast path uses them too.
func New(l net.Listener, find Find, server *http.Server) *Listener {
	closed := make(chan struct{})
	return &Listener{
		Listener: l, find: find,
		timeouts: timeouts{header: server.ReadHeaderTimeout, write: server.WriteTimeout, idle: server.IdleTimeout},
		accepted: make(chan accepted), closed: closed, served: make(chan struct{}),
		end: sync.OnceFunc(func() { close(closed) }), unbind: sync.OnceValue(l.Close),
		conns: map[*conn]struct{}{},
	}
}

// Serve accepts connections until Close or Shutdown. It passes errors to the server, which decides whether to retry.
func (l *Listener) Serve() {
	defer close(l.served)
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			l.start(c)
		case l.stopping.Load() || !l.pass(accepted{err: err}):
			return
		}
	}
}

// pass passes a connection or an error to the server. It returns false if the server has closed the listener.
func (l *Listener) pass(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
		return false
	}
}

// start serves a connection in a new goroutine.
func (l *Listener) start(from net.Conn) {
	c := &conn{Conn: from, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.timeouts.header
	if l.stopping.Load() {
		wait = firstRequestGrace
	}
	// The deadline also covers writing the first answer, which always fits into the send buffer.
	if c.SetDeadline(time.Now().Add(wait)) != nil {
		_ = from.Close() // it is closed already
		return
	}
	l.conns[c] = struct{}{}
	l.open.Go(c.serve)
}

func (l *Listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Accept returns a connection for the server.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close is for the server: it ends Serve and Accept. Open connections stay open.
func (l *Listener) Close() error {
	l.end()
	return l.unbind()
}

const (
	// requestGrace is how long Shutdown waits for a request that is already on its way.
	requestGrace = 100 * time.Millisecond
	// firstRequestGrace is the same for a connection without an answer so far: its request has usually
	// arrived and waits for a processor.
	firstRequestGrace = time.Second
)

// Shutdown ends Serve and closes idle connections. It waits for responses in progress until ctx ends, then
// closes their connections. Call it before the server's own Shutdown, because it may still pass connections
// to the server.
func (l *Listener) Shutdown(ctx context.Context) {
	begun := time.Now()
	l.each(func(c *conn) {
		grace := firstRequestGrace
		if c.answered.Load() {
			grace = requestGrace
		}
		_ = c.SetReadDeadline(begun.Add(grace)) // fails only on a closed connection
	})
	_ = l.unbind() // the server closes it too, and gets the error
	stop := context.AfterFunc(ctx, func() { l.each(func(c *conn) { _ = c.Close() }) })
	defer stop()
	<-l.served // after that, l.open counts every accepted connection
	l.open.Wait()
}

// each calls f for every connection, and makes all of them end after their next answer.
func (l *Listener) each(f func(*conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping.Store(true)
	for c := range l.conns {
		f(c)
	}
}

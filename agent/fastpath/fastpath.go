// Package fastpath answers the one request that balancers send over and over, GET /SERVICE/status, with as little work as can be, and leaves
// all else to net/http.
//
// It stands in front of an http.Server, as its listener. A connection whose next bytes are, whole and in one piece, a GET of a page
// that it knows, in HTTP/1.1 or HTTP/1.0, with the header fields Host, User-Agent, Accept (of no JSON), Accept-Encoding, Accept-Language,
// Cache-Control, Pragma and Connection (close or keep-alive) alone, is answered by the goroutine that read them. The answer has the bytes
// that net/http would send. With any other byte the server accepts the connection, reads what was read of it once more, and has it for good:
// so TLS, changes, streams, JSON, clients that err and clients that send a header in drips meet net/http, and nothing else.
//
// Why beside net/http: that has for each request a second goroutine to notice clients that go away, maps of headers and contexts, and for
// each connection two buffers and stacks that grow anew, which together cost more than to find the answer and to send it; docs/performance.md
// has the figures.
package fastpath

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Find gives the answer to a GET of a path; nil: that is for the server. The path is not kept. It is called by several goroutines.
type Find func(path []byte, now time.Time) *Answer

// Listener is the listener of a server, which gets the connections that this package does not take. Serve must be running.
type Listener struct {
	net.Listener // where connections come from
	find         Find
	bounds       bounds

	handed chan handed   // to Accept
	closed chan struct{} // by Close
	end    func()        // closes closed, once
	unbind func() error  // closes Listener, once

	served   chan struct{} // closed when Serve has ended
	stopping atomic.Bool   // no connection goes on after an answer
	open     sync.WaitGroup
	mu       sync.Mutex // protects conns
	conns    map[*conn]struct{}
}

// bounds are those of the server.
type bounds struct {
	header time.Duration // until the first request has come
	write  time.Duration // for the client to take an answer
	idle   time.Duration // between requests
}

// handed is what Accept gives.
type handed struct {
	conn net.Conn
	err  error
}

// New makes the listener for a server, with the server's own bounds in time, of which it has all; connections come from l.
func New(l net.Listener, find Find, server *http.Server) *Listener {
	closed := make(chan struct{})
	return &Listener{
		Listener: l, find: find,
		bounds: bounds{header: server.ReadHeaderTimeout, write: server.WriteTimeout, idle: server.IdleTimeout},
		handed: make(chan handed), closed: closed, served: make(chan struct{}),
		end: sync.OnceFunc(func() { close(closed) }), unbind: sync.OnceValue(l.Close),
		conns: map[*conn]struct{}{},
	}
}

// Serve accepts connections until Close or Shutdown. What fails is given to the server, which knows whether to go on.
func (l *Listener) Serve() {
	defer close(l.served)
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			l.begin(c)
		case l.stopping.Load() || !l.give(handed{err: err}):
			return
		}
	}
}

// give gives the server something, and tells whether it took it; it does not once it has closed its listener.
func (l *Listener) give(h handed) bool {
	select {
	case l.handed <- h:
		return true
	case <-l.closed:
		return false
	}
}

// begin serves a connection in a goroutine of its own.
func (l *Listener) begin(from net.Conn) {
	c := &conn{Conn: from, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.bounds.header
	if l.stopping.Load() {
		wait = firstCall
	}
	// The deadline is for the first answer too, which there is always room for.
	if c.SetDeadline(time.Now().Add(wait)) != nil {
		_ = from.Close() // it is closed already
		return
	}
	l.conns[c] = struct{}{}
	l.open.Go(c.serve)
}

func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Accept gives a connection that is the server's.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case h := <-l.handed:
		return h.conn, h.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close is for the server: it ends Serve and Accept. Connections that are open stay open.
func (l *Listener) Close() error {
	l.end()
	return l.unbind()
}

const (
	// lastCall is how long connections have in Shutdown for a request that is on its way.
	lastCall = 100 * time.Millisecond
	// firstCall is the same for those that have not been answered yet: theirs is here, as a rule, and waits for a processor.
	firstCall = time.Second
)

// Shutdown ends Serve and the connections that are idle; it waits for those that get an answer until ctx ends, when they are cut off. It is
// to be called before the server's own Shutdown: what it still finds to be the server's, the server still gets.
func (l *Listener) Shutdown(ctx context.Context) {
	begun := time.Now()
	l.each(func(c *conn) {
		call := firstCall
		if c.answered.Load() {
			call = lastCall
		}
		_ = c.SetReadDeadline(begun.Add(call)) // what is closed already needs none
	})
	_ = l.unbind() // the server closes it too, and is told
	stop := context.AfterFunc(ctx, func() { l.each(func(c *conn) { _ = c.Close() }) })
	defer stop()
	<-l.served // what was accepted until now is among those that are open
	l.open.Wait()
}

// each calls f for every connection there is, and has none go on after an answer.
func (l *Listener) each(f func(*conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping.Store(true)
	for c := range l.conns {
		f(c)
	}
}

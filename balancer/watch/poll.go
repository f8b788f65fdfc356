package watch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

const (
	// How much of a response is read, in bytes.
	maxResponseHeader = 64 << 10
	maxResponseBody   = 64 << 10
	// maxInformational is how many 1xx responses may precede the final one, as in net/http.
	maxInformational = 5
	// bufferSize fits the response of an agent with a handful of checks. Every node has a buffer.
	bufferSize = 1 << 10
)

var errHeaderTooLong = errors.New("response header exceeds 64 KiB")

// Poller polls the health of one node. It is used by one goroutine at a time.
type Poller interface {
	// Poll polls once and returns by the context's deadline. A failure is a Reading that is not Answered.
	Poll(ctx context.Context) decide.Reading
	// Close closes the connection kept between polls.
	Close()
}

// reachPoller is a Poller that can tell a node that is gone from one whose agent is late.
type reachPoller interface {
	Poller
	// pollReach polls like Poll, but waits for a new connection no longer than reach, if that is not 0. reached reports whether the node's
	// kernel has shown that it is there: it accepted or refused a connection, acknowledged the request, or closed the connection.
	pollReach(ctx context.Context, reach time.Duration) (r decide.Reading, reached bool)
}

// httpPoller polls over HTTP/1.1 on a persistent connection. It has no goroutine and between two polls only a buffer of bufferSize:
// net/http's Transport has two goroutines and 8 KiB of buffers per connection, which is expensive for thousands of nodes.
type httpPoller struct {
	address       string // of the agent
	statusRequest []byte
	streamTarget  []byte // of the request for the stream, up to the value of the heartbeat parameter; nil: there is no stream
	service       string // that the stream is about
	dial          func(ctx context.Context, network, address string) (net.Conn, error)

	conn *limitedConn // kept between polls; nil: none
	in   *bufio.Reader

	reach   time.Duration // time limit of a connection; 0: the context's
	reached bool          // the last request without a response reached the node's kernel
}

// limitedConn limits how much is read from a connection.
type limitedConn struct {
	net.Conn
	remaining int    // bytes
	unread    []byte // read from the socket already; returned first
}

// Read implements io.Reader. After the deadline it still returns what the kernel has buffered: that data arrived in time,
// and lb reads it late, for instance because it waited for a processor.
func (c *limitedConn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	if c.remaining <= 0 {
		return 0, errHeaderTooLong
	}
	p = p[:min(len(p), c.remaining)]
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if buffered := c.readBuffered(p); buffered > 0 {
			n, err = buffered, nil
		}
	}
	c.remaining -= n
	return n, err
}

// readBuffered reads what the kernel has buffered, regardless of the deadline. It returns 0 if there is nothing, or c is not a socket.
func (c *limitedConn) readBuffered(p []byte) (n int) {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil || raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), p) }) != nil || err != nil {
		return 0
	}
	return n
}

// NewHTTPPoller polls http://address:port/path. Like big_brother it follows no redirects and uses no proxies.
func NewHTTPPoller(n config.Node) Poller {
	return newHTTPPoller(netip.AddrPortFrom(n.Address, n.Port), n.Path)
}

func newHTTPPoller(at netip.AddrPort, path string) *httpPoller {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		u = &url.URL{Path: path} // config has validated paths; use any other literally
	}
	p := &httpPoller{
		address: at.String(),
		dial:    (&net.Dialer{KeepAlive: -1}).DialContext, // polls and heartbeats show whether the connection is alive
		in:      bufio.NewReaderSize(nil, bufferSize),
	}
	p.statusRequest = p.request(u.RequestURI()+" HTTP/1.1", "Accept: text/plain, */*")
	p.streamTarget, p.service = streamTarget(u)
	return p
}

// request returns a GET request with one or more additional header lines. The target includes the HTTP version.
func (p *httpPoller) request(target, header string) []byte {
	return fmt.Appendf(nil, "GET %s\r\nHost: %s\r\nUser-Agent: lb\r\n%s\r\n\r\n", target, p.address, header)
}

// Poll implements Poller.
func (p *httpPoller) Poll(ctx context.Context) decide.Reading {
	r, _ := p.pollReach(ctx, 0)
	return r
}

// pollReach implements reachPoller.
func (p *httpPoller) pollReach(ctx context.Context, reach time.Duration) (r decide.Reading, reached bool) {
	p.reach, p.reached = reach, false
	start := time.Now()
	status, header, body, err := p.get(ctx)
	p.reach = 0
	r = decide.Reading{At: time.Now()}
	if err != nil {
		r.Detail = describe(err, r.At.Sub(start))
		return r, p.reached
	}
	r.Answered = true
	r.Health, r.Detail = parseResponse(status, header, body)
	r.Forced = header.Get("X-Health-Forced") != "" && !forceIsMoot(header, body)
	return r, true
}

// get fetches the status page, with as much of its body as may matter.
func (p *httpPoller) get(ctx context.Context) (int, http.Header, []byte, error) {
	resp, err := p.roundTrip(ctx, p.statusRequest)
	if err != nil {
		return 0, nil, nil, err
	}
	body, err := p.readBody(ctx, resp)
	if _, inHeader := resp.Header["X-Health"]; inHeader || resp.StatusCode != http.StatusOK {
		err = nil // the response is complete without its body
	}
	return resp.StatusCode, resp.Header, body, err
}

// roundTrip sends a request and reads the response header; readBody or Close must follow. A persistent connection may have died, as
// after a restart of the agent. That is no failure: roundTrip tries again on a new one, within the same deadline.
func (p *httpPoller) roundTrip(ctx context.Context, request []byte) (*http.Response, error) {
	reused := p.conn != nil
	resp, err := p.tryRoundTrip(ctx, request)
	if err != nil && reused && ctx.Err() == nil && !isTimeout(err) {
		resp, err = p.tryRoundTrip(ctx, request)
	}
	return resp, err
}

func (p *httpPoller) tryRoundTrip(ctx context.Context, request []byte) (*http.Response, error) {
	isNew := p.conn == nil
	if isNew {
		if err := p.connect(ctx); err != nil {
			p.reached = fromPeer(err)
			return nil, err
		}
	}
	release := p.applyContext(ctx)
	resp, err := p.exchange(request)
	if !release() {
		err = ctx.Err()
	}
	if err != nil {
		p.reached = isNew || fromPeer(err) || acknowledged(p.conn.Conn)
		p.Close()
		return nil, err
	}
	p.reached = true
	return resp, nil
}

// connect opens the connection.
func (p *httpPoller) connect(ctx context.Context) error {
	if p.reach > 0 {
		reachCtx, cancel := context.WithTimeout(ctx, p.reach)
		defer cancel()
		ctx = reachCtx
	}
	c, err := p.dial(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	p.conn = &limitedConn{Conn: c}
	p.in.Reset(p.conn)
	return nil
}

// applyContext makes reads and writes end with the context. release ends that; it returns false when the context was cancelled before.
// An exceeded deadline does not count as cancelled: it is the connection's deadline, too.
func (p *httpPoller) applyContext(ctx context.Context) (release func() bool) {
	deadline, _ := ctx.Deadline() // zero: no deadline
	c := p.conn.Conn
	_ = c.SetDeadline(deadline) // where this fails, reads and writes fail, too
	stop := context.AfterFunc(ctx, func() {
		if !isTimeout(ctx.Err()) {
			_ = c.SetDeadline(time.Unix(1, 0))
		}
	})
	return func() bool { return stop() || isTimeout(ctx.Err()) }
}

// exchange writes the request and reads the response header.
func (p *httpPoller) exchange(request []byte) (*http.Response, error) {
	if _, err := p.conn.Write(request); err != nil {
		return nil, err
	}
	p.conn.remaining = maxResponseHeader
	for range maxInformational + 1 {
		resp, err := http.ReadResponse(p.in, nil)
		switch {
		case err != nil && p.conn.remaining <= 0:
			return nil, errHeaderTooLong // http.ReadResponse may report a malformed line instead
		case err != nil:
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errors.New("too many 1xx responses")
}

// readBody reads as much of a response body as may matter, and keeps the connection if it can be reused.
func (p *httpPoller) readBody(ctx context.Context, resp *http.Response) ([]byte, error) {
	release := p.applyContext(ctx)
	p.conn.remaining = 2 * maxResponseBody // chunks have headers
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBody+1))
	whole := release() && err == nil && len(body) <= maxResponseBody
	if !whole || resp.Close || resp.StatusCode == http.StatusSwitchingProtocols || p.in.Buffered() > 0 {
		p.Close()
	}
	return body[:min(len(body), maxResponseBody)], err
}

// Close implements Poller.
func (p *httpPoller) Close() {
	if p.conn != nil {
		_ = p.conn.Close() // nothing to lose
		p.conn = nil
	}
}

// isTimeout reports whether an error is an exceeded deadline.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// describe says briefly why a poll that took that long got no valid response.
func describe(err error, took time.Duration) string {
	var errno syscall.Errno
	switch {
	case isTimeout(err):
		return fmt.Sprintf("timeout after %s", took.Round(time.Millisecond))
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without a response"
	}
	return fmt.Sprintf("%.120s", err)
}

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
	// What is read of an agent's answer: its header, and its body.
	maxAnswerHeader = 64 << 10
	maxAnswerBody   = 64 << 10
	// maxInformational is how many answers of status 1xx may come before the true one; net/http takes as many.
	maxInformational = 5
	// bufferSize holds the answer of an agent with a handful of checks. There is a buffer for every node.
	bufferSize = 1 << 10
)

// errTooLong says that an answer goes on beyond what is read of one.
var errTooLong = errors.New("the answer's header is longer than 64 KiB")

// Poller asks one node for its health. It is used by one goroutine at a time.
type Poller interface {
	// Poll asks once and returns by the context's deadline; a failure is a Reading that is not Answered.
	Poll(ctx context.Context) decide.Reading
	// Close gives back what is kept between polls.
	Close()
}

// httpPoller asks over HTTP/1.1 on a connection that it keeps. It has no goroutine of its own, and between two polls no buffers
// but one of bufferSize: net/http's Transport, with two goroutines and 8 KiB of buffers a connection, would make thousands of nodes dear.
type httpPoller struct {
	address string // of the agent
	page    []byte // the request for the health
	stream  []byte // the request for the stream, up to the time between heartbeats; nil where there can be none
	service string // that the stream is about
	dial    func(ctx context.Context, network, address string) (net.Conn, error)

	conn *bounded // kept; nil when there is none
	in   *bufio.Reader
}

// bounded is a connection of which only so much is read.
type bounded struct {
	net.Conn
	left  int    // bytes
	ahead []byte // read already, and comes first
}

// Read implements io.Reader. When the deadline is over, what lies in the kernel still counts: it came in time, and it is lb that looks late, as where it
// has to wait for a processor.
func (b *bounded) Read(p []byte) (int, error) {
	if len(b.ahead) > 0 {
		n := copy(p, b.ahead)
		b.ahead = b.ahead[n:]
		return n, nil
	}
	if b.left <= 0 {
		return 0, errTooLong
	}
	p = p[:min(len(p), b.left)]
	n, err := b.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if lay := b.readNow(p); lay > 0 {
			n, err = lay, nil
		}
	}
	b.left -= n
	return n, err
}

// readNow reads what lies in the kernel, whatever the deadline; 0 is nothing, or no socket.
func (b *bounded) readNow(p []byte) (n int) {
	socket, ok := b.Conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil || raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), p) }) != nil || err != nil {
		return 0
	}
	return n
}

// NewHTTPPoller asks http://address:port/path as big_brother does: redirects are not followed, proxies are not used.
func NewHTTPPoller(n config.Node) Poller {
	return newHTTPPoller(netip.AddrPortFrom(n.Address, n.Port), n.Path)
}

func newHTTPPoller(at netip.AddrPort, path string) *httpPoller {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		u = &url.URL{Path: path} // config has judged paths; whatever else comes is asked literally
	}
	p := &httpPoller{
		address: at.String(),
		dial:    (&net.Dialer{KeepAlive: -1}).DialContext, // every poll, and every heartbeat, shows whether the connection lives
		in:      bufio.NewReaderSize(nil, bufferSize),
	}
	p.page = p.request(u.RequestURI()+" HTTP/1.1", "Accept: text/plain, */*")
	p.stream, p.service = p.streamRequest(u)
	return p
}

// request is what is sent to get what stands at the target, with a further header.
func (p *httpPoller) request(target, header string) []byte {
	return fmt.Appendf(nil, "GET %s\r\nHost: %s\r\nUser-Agent: lb\r\n%s\r\n\r\n", target, p.address, header)
}

// Poll implements Poller.
func (p *httpPoller) Poll(ctx context.Context) decide.Reading {
	begun := time.Now()
	status, header, body, err := p.get(ctx)
	r := decide.Reading{At: time.Now()}
	if err != nil {
		r.Detail = reason(err, r.At.Sub(begun))
		return r
	}
	r.Answered = true
	r.Health, r.Detail = health(status, header, body)
	r.Forced = header.Get("X-Health-Forced") != "" && !idle(header, body)
	return r
}

// get fetches the page and reads as much of its body as may matter.
func (p *httpPoller) get(ctx context.Context) (int, http.Header, []byte, error) {
	resp, err := p.ask(ctx, p.page)
	if err != nil {
		return 0, nil, nil, err
	}
	body, err := p.finish(ctx, resp)
	if _, inHeader := resp.Header["X-Health"]; inHeader || resp.StatusCode != http.StatusOK {
		err = nil // the answer is complete without its body
	}
	return resp.StatusCode, resp.Header, body, err
}

// ask sends a request and reads the header of its answer; finish, or Close, has to follow. A kept connection that turns out to be dead,
// as after the agent's restart, is no failure: the agent is asked again over a new one, within the same deadline.
func (p *httpPoller) ask(ctx context.Context, request []byte) (*http.Response, error) {
	kept := p.conn != nil
	resp, err := p.askOnce(ctx, request)
	if err != nil && kept && ctx.Err() == nil && !late(err) {
		resp, err = p.askOnce(ctx, request)
	}
	return resp, err
}

func (p *httpPoller) askOnce(ctx context.Context, request []byte) (*http.Response, error) {
	if p.conn == nil {
		c, err := p.dial(ctx, "tcp", p.address)
		if err != nil {
			return nil, err
		}
		p.conn = &bounded{Conn: c}
		p.in.Reset(p.conn)
	}
	unlimit := p.limit(ctx)
	resp, err := p.exchange(request)
	if !unlimit() {
		err = ctx.Err()
	}
	if err != nil {
		p.Close()
	}
	return resp, err
}

// limit has reads and writes end with the context. What it returns takes that back; false: too late, the context was cancelled. That its time is up
// says nothing: the connection has its deadline.
func (p *httpPoller) limit(ctx context.Context) (unlimit func() bool) {
	deadline, _ := ctx.Deadline() // without one: no limit
	c := p.conn.Conn
	// Where this fails, so does what follows.
	_ = c.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() {
		if !late(ctx.Err()) {
			_ = c.SetDeadline(time.Unix(1, 0))
		}
	})
	return func() bool { return stop() || late(ctx.Err()) }
}

// exchange writes the request and reads the header of the answer.
func (p *httpPoller) exchange(request []byte) (*http.Response, error) {
	if _, err := p.conn.Write(request); err != nil {
		return nil, err
	}
	p.conn.left = maxAnswerHeader
	for range maxInformational + 1 {
		resp, err := http.ReadResponse(p.in, nil)
		switch {
		case err != nil && p.conn.left <= 0:
			return nil, errTooLong // whatever the line was that it ended in
		case err != nil:
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errors.New("too many answers of status 1xx")
}

// finish reads the body of an answer, as far as it may matter, and keeps the connection if it can be used again.
func (p *httpPoller) finish(ctx context.Context, resp *http.Response) ([]byte, error) {
	unlimit := p.limit(ctx)
	p.conn.left = 2 * maxAnswerBody // chunks have headers of their own
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBody+1))
	whole := unlimit() && err == nil && len(body) <= maxAnswerBody
	if !whole || resp.Close || resp.StatusCode == http.StatusSwitchingProtocols || p.in.Buffered() > 0 {
		p.Close()
	}
	return body[:min(len(body), maxAnswerBody)], err
}

// Close implements Poller.
func (p *httpPoller) Close() {
	if p.conn != nil {
		_ = p.conn.Close() // nothing is lost with it
		p.conn = nil
	}
}

// late tells whether an error is that of a deadline.
func late(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// reason says in a few words why there is no usable answer.
func reason(err error, took time.Duration) string {
	var errno syscall.Errno
	switch {
	case late(err):
		return fmt.Sprintf("timeout after %s", took.Round(time.Millisecond))
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	}
	return fmt.Sprintf("%.120s", err)
}

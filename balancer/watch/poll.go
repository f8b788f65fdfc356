package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// What is read of an agent's answer: its header, and its body.
const (
	maxAnswerHeader = 64 << 10
	maxAnswerBody   = 64 << 10
)

// Poller asks one node for its health. It is used by one goroutine at a time.
type Poller interface {
	// Poll asks once and returns by the context's deadline; a failure is a Reading that is not Answered.
	Poll(ctx context.Context) decide.Reading
	// Close gives back what is kept between polls.
	Close()
}

// httpPoller asks over HTTP and keeps the connection.
type httpPoller struct {
	url       *url.URL
	transport *http.Transport
}

// NewHTTPPoller asks http://address:port/path as big_brother does: redirects are not followed, proxies are not used.
func NewHTTPPoller(n config.Node) Poller {
	u, err := url.ParseRequestURI(n.Path)
	if err != nil {
		u = &url.URL{Path: n.Path} // config has judged paths; whatever else comes is asked literally
	}
	u.Scheme, u.Host = "http", netip.AddrPortFrom(n.Address, n.Port).String()
	return &httpPoller{url: u, transport: &http.Transport{
		DialContext:            (&net.Dialer{KeepAlive: -1}).DialContext, // every poll shows whether the connection lives
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}}
}

// Poll implements Poller. A kept connection that turns out to be dead, as after the agent's restart, is no failure:
// net/http asks again over a new one, within the same deadline.
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
	return r
}

// get fetches the page and reads as much of its body as may matter.
func (p *httpPoller) get(ctx context.Context) (int, http.Header, []byte, error) {
	req := (&http.Request{
		Method: http.MethodGet, URL: p.url, Host: p.url.Host, Header: http.Header{"User-Agent": {"lb"}, "Accept": {"text/plain, */*"}},
	}).WithContext(ctx)
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBody))
	if _, inHeader := resp.Header["X-Health"]; inHeader || resp.StatusCode != http.StatusOK {
		err = nil // the answer is complete without its body
	}
	return resp.StatusCode, resp.Header, body, err
}

// Close implements Poller.
func (p *httpPoller) Close() { p.transport.CloseIdleConnections() }

// reason says in a few words why there is no usable answer.
func reason(err error, took time.Duration) string {
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("timeout after %s", took.Round(time.Millisecond))
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	}
	return fmt.Sprintf("%.120s", strings.TrimPrefix(err.Error(), "net/http: "))
}

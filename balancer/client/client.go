// Package client asks the daemons of lb over their control sockets or TCP addresses.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Daemon names one of the two daemons, as an operator knows it.
type Daemon struct {
	Name string // such as "lb agent"
	Unit string // the systemd unit that runs it
}

// Agent is the daemon of an app node.
func Agent() Daemon { return Daemon{Name: "lb agent", Unit: "lb-agent"} }

// Balancer is the daemon of a load balancer.
func Balancer() Daemon { return Daemon{Name: "lb balance", Unit: "lb-balance"} }

// DefaultConfig is the configuration file that lb reads unless another one is named.
const DefaultConfig = "/etc/lb/lb.toml"

// The control sockets of the daemons unless the configuration names others.
const (
	DefaultAgentControl    = "/run/lb/agent.sock"
	DefaultBalancerControl = "/run/lb/balancer.sock"
)

const (
	// askTimeout bounds one question, connecting included, unless the question or the context say otherwise.
	askTimeout = 10 * time.Second
	// maxBody bounds an answer; a list of a thousand clusters is far below it.
	maxBody = 4 << 20
)

// Client asks one daemon. It may be used by several goroutines.
type Client struct {
	daemon  Daemon
	address string
	base    string
	token   string // shown with every change; "" is none
	http    *http.Client
}

// New returns a client of the daemon at address: the path of a Unix socket (it has a slash), or host:port.
func New(daemon Daemon, address string) (*Client, error) { return With(Proof{}, daemon, address) }

// With returns a client as New does, which shows that proof where it asks over TCP.
func With(proof Proof, daemon Daemon, address string) (*Client, error) {
	c := &Client{daemon: daemon, address: address, base: "http://lb"}
	network := "unix"
	var secure *tls.Config
	if !strings.Contains(address, "/") {
		host, port, err := net.SplitHostPort(address)
		if err != nil || port == "" {
			return nil, fmt.Errorf("address of %s %q: give host:port or the path of its socket", daemon.Name, address)
		}
		if c.token, secure, err = proof.read(host); err != nil {
			return nil, err
		}
		network, c.base = "tcp", "http://"+net.JoinHostPort(host, port)
		if secure != nil {
			c.base = "https://" + net.JoinHostPort(host, port)
		}
	}
	transport := &http.Transport{
		TLSClientConfig:   secure,
		DisableKeepAlives: true, // a few questions at most: leave no connection and no goroutine behind
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Question is what to ask.
type Question struct {
	Method string // "" is GET
	Path   string // such as /webapp/status, with each element already escaped
	Form   url.Values
	Body   []byte        // in JSON, instead of Form; nil is none
	JSON   bool          // ask for JSON instead of text
	Limit  time.Duration // for the whole answer; 0 is 10 s
}

// Answer is what came back, whatever its status.
type Answer struct {
	Status int
	Body   []byte
}

// Line returns the first line of a text answer, to be quoted in a message.
func (a Answer) Line() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(a.Body)), "\n")
	if line == "" {
		return http.StatusText(a.Status)
	}
	return line
}

// Ask puts one question. An error means that no whole answer came: it is an *UnreachableError.
func (c *Client) Ask(ctx context.Context, q Question) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(q.Limit, askTimeout))
	defer cancel()
	var body io.Reader
	contentType := "application/json"
	switch {
	case q.Form != nil:
		body, contentType = strings.NewReader(q.Form.Encode()), "application/x-www-form-urlencoded"
	case q.Body != nil:
		body = bytes.NewReader(q.Body)
	}
	req, err := c.request(ctx, q.Method, q.Path, body)
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if q.JSON {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, c.unreachable(err)
	}
	defer resp.Body.Close()
	return c.answer(resp)
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", c.daemon.Name, path, err)
	}
	if c.token != "" && req.Method != http.MethodGet { // reads need none, and it need not be sent about
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func (c *Client) answer(resp *http.Response) (Answer, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return Answer{}, c.unreachable(err)
	}
	if len(b) > maxBody {
		return Answer{}, c.unreachable(fmt.Errorf("its answer is longer than %d bytes", maxBody))
	}
	return Answer{Status: resp.StatusCode, Body: b}, nil
}

// UnreachableError says that a daemon gave no answer, and what to do about it.
type UnreachableError struct {
	Daemon  Daemon
	Address string
	Err     error
}

// unreachable wraps what net/http says, without its own prefix of method and address.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &UnreachableError{Daemon: c.daemon, Address: c.address, Err: err}
}

// Error names the daemon, where it was looked for, what happened, and a fix.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach %s at %s: %s; %s", e.Daemon.Name, e.Address, e.cause(), e.fix())
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// cause gives the innermost reason in few words.
func (e *UnreachableError) cause() string {
	var errno syscall.Errno
	switch {
	case errors.Is(e.Err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(e.Err, &errno):
		return errno.Error()
	}
	return e.Err.Error()
}

// fix says what to do next.
func (e *UnreachableError) fix() string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(e.Err, http.ErrSchemeMismatch):
		return "it speaks no TLS: give it a certificate (cert_file in its configuration), or leave --ca-file and --cert-file out"
	case errors.As(e.Err, &unknown):
		return "give the CA that signed its certificate with --ca-file"
	case errors.As(e.Err, &name):
		return "ask it by a name that its certificate has"
	case errors.As(e.Err, &invalid):
		return "give it a good certificate (cert_file in its configuration), then reload it"
	case errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("it runs but hangs: look at `journalctl -u %s`, then `systemctl restart %s`", e.Daemon.Unit, e.Daemon.Unit)
	case errors.Is(e.Err, fs.ErrPermission):
		return "only root, the user of the daemon and the members of its control_group may use the socket: try sudo"
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("is it running? `systemctl start %s`", e.Daemon.Unit)
	}
	return fmt.Sprintf("look at `systemctl status %s`", e.Daemon.Unit)
}

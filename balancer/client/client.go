// Package client sends requests to the daemons of lb over their control sockets or TCP addresses.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Daemon names one of the two daemons, as an operator knows it.
type Daemon struct {
	Name string // such as "lb agent"
	Unit string // its systemd unit, without .service
}

// Agent is the daemon of an app node.
func Agent() Daemon { return Daemon{Name: "lb agent", Unit: "lb-agent"} }

// Balancer is the daemon of a load balancer.
func Balancer() Daemon { return Daemon{Name: "lb balance", Unit: "lb-balance"} }

// DefaultConfig is the path of the configuration unless -c names another.
const DefaultConfig = "/etc/lb/lb.toml"

// The daemons' control sockets unless the configuration names others.
const (
	DefaultAgentControl    = "/run/lb/agent.sock"
	DefaultBalancerControl = "/run/lb/balancer.sock"
)

const (
	// defaultTimeout bounds a request, including the connection, unless the request or the context sets another bound.
	defaultTimeout = 10 * time.Second
	// maxBody bounds a response, in bytes. A list of a thousand clusters is far smaller.
	maxBody = 4 << 20
)

// Client sends requests to one daemon. It is safe for concurrent use.
type Client struct {
	daemon  Daemon
	address string
	baseURL string
	token   string // sent with every change; "": none
	http    *http.Client
}

// New returns a client of the daemon at address: the path of a Unix socket (it contains a slash), or host:port.
func New(daemon Daemon, address string) (*Client, error) {
	return NewWithCredentials(daemon, address, Credentials{})
}

// NewWithCredentials is New with credentials for changes over TCP. A Unix socket ignores them: there the kernel identifies the caller.
func NewWithCredentials(daemon Daemon, address string, credentials Credentials) (*Client, error) {
	c := &Client{daemon: daemon, address: address, baseURL: "http://lb"}
	network := "unix"
	var tlsConfig *tls.Config
	if !strings.Contains(address, "/") {
		host, port, err := net.SplitHostPort(address)
		if err != nil || port == "" {
			return nil, fmt.Errorf("address of %s %q: give host:port or the path of its socket", daemon.Name, address)
		}
		if c.token, tlsConfig, err = credentials.load(host); err != nil {
			return nil, err
		}
		network, c.baseURL = "tcp", "http://"+net.JoinHostPort(host, port)
		if tlsConfig != nil {
			c.baseURL = "https://" + net.JoinHostPort(host, port)
		}
	}
	transport := &http.Transport{
		TLSClientConfig:   tlsConfig,
		DisableKeepAlives: true, // a command sends a few requests: leave no idle connection and no goroutine behind
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

// Request is one request to a daemon.
type Request struct {
	Method  string // "": GET
	Path    string // such as /webapp/status, with each element already escaped
	Form    url.Values
	Body    []byte        // JSON, instead of Form; nil: none
	JSON    bool          // request a JSON response instead of text
	Timeout time.Duration // for the whole exchange; 0: 10 s
}

// Response is a daemon's response, with any status.
type Response struct {
	Status int
	Body   []byte
	daemon Daemon
}

// FirstLine returns the first line of a text response, to be quoted in a message.
func (r Response) FirstLine() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(r.Body)), "\n")
	if line == "" {
		return http.StatusText(r.Status)
	}
	return line
}

// Err turns an error status into an error: nil below 400, a *RefusedError below 500.
func (r Response) Err() error {
	switch {
	case r.Status < 400:
		return nil
	case r.Status < 500:
		return &RefusedError{Text: fmt.Sprintf("%s refused: %s", r.daemon.Name, r.FirstLine())}
	}
	return fmt.Errorf("%s returned status %d: %s; look at `journalctl -u %s`", r.daemon.Name, r.Status, r.FirstLine(), r.daemon.Unit)
}

// Decode reads a JSON response into v. Anything else is an error: a different program listens at that address.
func (r Response) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return r.notJSON()
	}
	return nil
}

// IndentedJSON returns a JSON response with indentation and a final newline. Anything else is an error, as in Decode.
func (r Response) IndentedJSON() ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(r.Body), "", "  "); err != nil {
		return nil, r.notJSON()
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (r Response) notJSON() error {
	return fmt.Errorf("the response %q is not JSON: is %s listening at that address?", r.FirstLine(), r.daemon.Name)
}

// Do sends a request. An error means that no complete response arrived: it is an *UnreachableError.
func (c *Client) Do(ctx context.Context, r Request) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Timeout, defaultTimeout))
	defer cancel()
	var body io.Reader
	contentType := "application/json"
	switch {
	case r.Form != nil:
		body, contentType = strings.NewReader(r.Form.Encode()), "application/x-www-form-urlencoded"
	case r.Body != nil:
		body = bytes.NewReader(r.Body)
	}
	req, err := c.newHTTPRequest(ctx, r.Method, r.Path, body)
	if err != nil {
		return Response{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if r.JSON {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Response{}, c.unreachable(err)
	}
	defer resp.Body.Close()
	return c.readResponse(resp)
}

func (c *Client) newHTTPRequest(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.baseURL+path, body)
	if err != nil {
		return nil, fmt.Errorf("request %s from %s: %w", path, c.daemon.Name, err)
	}
	if c.token != "" && req.Method != http.MethodGet { // reads need no token, so it does not travel with them
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func (c *Client) readResponse(resp *http.Response) (Response, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return Response{}, c.unreachable(err)
	}
	if len(b) > maxBody {
		return Response{}, c.unreachable(fmt.Errorf("its response exceeds %d bytes", maxBody))
	}
	return Response{Status: resp.StatusCode, Body: b, daemon: c.daemon}, nil
}

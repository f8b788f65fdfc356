package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/config"
)

const (
	maxBody      = 1 << 20 // bytes of the body that are read and searched for content
	maxHeader    = 64 << 10
	maxRedirects = 10
	userAgent    = "lb"
)

// httpOptions are the options of an http dependency.
type httpOptions struct {
	URL             string            // http or https; sent with its query, and with its user and password as basic auth
	Method          string            // default GET
	Headers         map[string]string // sent unchanged; Host replaces the host of the URL
	CAFile          string            // PEM file of the CAs to trust instead of the system's, read at every run
	Content         string            // regular expression that must match the first MiB of the body; "" accepts any body
	Status          int               // the only accepted status; 0 accepts any 2xx
	FollowRedirects bool              // default false: a redirect is a response like any other, and not a 2xx
	Timeout         time.Duration
}

// httpCheck is a dependency on a page. Each run opens a new connection, so that it sees what a new client
// sees, and sends one request, which is not retried.
type httpCheck struct {
	noFloor
	httpOptions
	content *regexp.Regexp // nil accepts any body
}

func newHTTP(c config.Check, _ Host) Check {
	o := c.Options
	h := httpCheck{httpOptions: httpOptions{
		URL:             o.String("url", ""),
		Method:          o.String("method", http.MethodGet),
		Headers:         o.StringMap("headers"),
		CAFile:          o.String("ca_file", ""),
		Content:         o.String("content", ""),
		Status:          o.Int("status", 0, 100, 599),
		FollowRedirects: o.Bool("follow_redirects", false),
		Timeout:         c.Timeout,
	}}
	if problem := badURL(h.URL); problem != "" {
		o.Invalid("url", problem, `give a full URL, such as "http://localhost:3000/heartbeat"`)
	}
	if _, err := http.NewRequest(h.Method, "http://localhost/", nil); err != nil || h.Method != strings.ToUpper(h.Method) ||
		h.Method == "" {
		o.Invalid("method", "is not an HTTP method", `give one such as "GET", "HEAD" or "POST", in upper case`)
	}
	if problem := badHeaders(h.Headers); problem != "" {
		o.Invalid("headers", problem, `give a table of names and values, such as { Host = "www.example.com" }`)
	}
	if h.Content != "" {
		pattern, err := regexp.Compile(h.Content)
		if err != nil {
			o.Invalid("content", "is not a valid regular expression: "+err.Error(),
				"see https://pkg.go.dev/regexp/syntax; escape literal special characters with \\")
		}
		h.content = pattern
	}
	if h.Content != "" && h.Method == http.MethodHead {
		o.Invalid("content", "a response to HEAD has no body", "use the method GET, or omit content")
	}
	return h
}

// badURL says what is wrong with a URL, "" if it is valid.
func badURL(s string) string {
	if s == "" {
		return "is missing"
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a URL" // without the error, which includes the URL and its password
	case u.Scheme != "http" && u.Scheme != "https":
		return "does not start with http:// or https://"
	case u.Hostname() == "":
		return "has no host"
	}
	// A zone such as %25%C2 can be parsed, but its output cannot.
	if _, err := url.Parse(u.String()); err != nil {
		return "has an invalid host"
	}
	return ""
}

// badHeaders says what is wrong with the names or values of headers, "" if they are valid.
func badHeaders(headers map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
		}) {
			return fmt.Sprintf("%q is not a header name", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Sprintf("the value of %q contains a control character", name)
		}
	}
	return ""
}

func (h httpCheck) Run(ctx context.Context) Result {
	client, err := h.client(ctx)
	if err != nil {
		return failed("%v", err)
	}
	req, err := h.request(ctx)
	if err != nil {
		return failed("%v", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return failed("%v", reason(ctx, withoutURL(err), h.Timeout))
	}
	defer resp.Body.Close() // only read, so an error on close loses nothing
	return h.result(ctx, resp)
}

// withoutURL removes the URL from a client's error: it may contain a password, and the reader knows it.
func withoutURL(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// result reads the response.
func (h httpCheck) result(ctx context.Context, resp *http.Response) Result {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case h.Status == 0 && (resp.StatusCode < 200 || resp.StatusCode > 299):
		return failed("status %s", resp.Status)
	case h.Status != 0 && resp.StatusCode != h.Status:
		return failed("status %s, want %d", resp.Status, h.Status)
	case err != nil:
		return failed("status %s, but the body could not be read: %v", resp.Status, reason(ctx, err, h.Timeout))
	case h.content != nil && !h.content.Match(body):
		return failed("status %s, but the body does not match /%s/", resp.Status, h.Content)
	}
	return passed("status %s", resp.Status)
}

// request makes the request of one run.
func (h httpCheck) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, h.Method, h.URL, http.NoBody)
	if err != nil {
		return nil, errors.New("the URL cannot be requested")
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "*/*")
	for name, value := range h.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// client makes the client of one run. It ignores proxies in the environment: the check is about the host in the URL.
func (h httpCheck) client(ctx context.Context) (*http.Client, error) {
	transport := &http.Transport{
		// The transport detaches a dial from its request, to keep the connection for later requests. There
		// are none here, and a peer that accepts and stays silent would leave it hanging, so the run's
		// deadline applies to dial and handshake.
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			if end, ok := ctx.Deadline(); ok {
				err = conn.SetDeadline(end)
			}
			return conn, err
		},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	if h.CAFile != "" {
		pool, err := readCAs(h.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{Transport: transport}
	client.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		switch {
		case !h.FollowRedirects:
			return http.ErrUseLastResponse
		case len(via) > maxRedirects: // via includes the first request
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}
	return client, nil
}

// readCAs reads the CAs to trust, at every run: the file may be renewed at any time, and it need not exist on
// machines that share the configuration but do not have the service.
func readCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s contains no PEM certificate", file)
	}
	return pool, nil
}

// Display masks the password: everybody who can reach the agent can read the status page.
func (h httpCheck) Display() string {
	shown := h.URL
	if u, err := url.Parse(h.URL); err == nil && u.User != nil {
		shown = u.Redacted()
	}
	return fmt.Sprintf("Dependency::HTTP(%s)", shown)
}

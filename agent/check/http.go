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
	maxBody      = 1 << 20 // bytes of an answer that are read, and in which content is looked for
	maxHeader    = 64 << 10
	maxRedirects = 10
	userAgent    = "lb"
)

// httpOptions are the options of an http dependency.
type httpOptions struct {
	URL             string            // http or https; user and password in it are sent as basic auth, the query is kept
	Method          string            // default GET
	Headers         map[string]string // sent as they are; Host is honoured
	CAFile          string            // PEM file of the authorities to trust instead of the system's, read at every run
	Content         string            // pattern that must match in the first MiB of the body; "" is any body
	Status          int               // the one status that is well; 0 is any 2xx
	FollowRedirects bool              // default false: a redirect is an answer like any other, and not a 2xx
	Timeout         time.Duration
}

// httpCheck is a dependency on a page. Every run opens a connection of its own, so that it sees what a new client sees, and asks
// once: a request that got no answer is not repeated.
type httpCheck struct {
	noFloor
	httpOptions
	content *regexp.Regexp // nil: any body
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
	if _, err := http.NewRequest(h.Method, "http://localhost/", nil); err != nil || h.Method != strings.ToUpper(h.Method) || h.Method == "" {
		o.Invalid("method", "is no HTTP method", `give one such as "GET", "HEAD" or "POST", in capital letters`)
	}
	if problem := badHeaders(h.Headers); problem != "" {
		o.Invalid("headers", problem, `give a table of names and values, such as { Host = "www.example.com" }`)
	}
	if h.Content != "" {
		pattern, err := regexp.Compile(h.Content)
		if err != nil {
			o.Invalid("content", "is no pattern: "+err.Error(), "see https://pkg.go.dev/regexp/syntax; put \\ before a character that stands for itself")
		}
		h.content = pattern
	}
	if h.Content != "" && h.Method == http.MethodHead {
		o.Invalid("content", "an answer to HEAD has no body", "use the method GET, or leave content out")
	}
	return h
}

// badURL tells what is wrong with a URL, "" when it is fine.
func badURL(s string) string {
	if s == "" {
		return "is missing"
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is no URL" // the error would repeat the URL, with its password
	case u.Scheme != "http" && u.Scheme != "https":
		return "begins with neither http:// nor https://"
	case u.Hostname() == "":
		return "names no host"
	}
	// A zone such as %25%C2 can be read once, and is written so that it cannot be read again.
	if _, err := url.Parse(u.String()); err != nil {
		return "names a host that is none"
	}
	return ""
}

// badHeaders tells what is wrong with the names and values of headers, "" when they are fine.
func badHeaders(headers map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) {
			return fmt.Sprintf("%q is no name of a header", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Sprintf("the value of %q holds a control character", name)
		}
	}
	return ""
}

func (h httpCheck) Run(ctx context.Context) Result {
	client, err := h.client(ctx)
	if err != nil {
		return bad("%v", err)
	}
	req, err := h.request(ctx)
	if err != nil {
		return bad("%v", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return bad("%v", reason(ctx, withoutURL(err), h.Timeout))
	}
	defer resp.Body.Close() // the body is read or given up; a failed close changes nothing
	return h.judge(ctx, resp)
}

// withoutURL takes the URL, which may hold a password and which the reader has in front of him, out of a client's error.
func withoutURL(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// judge reads the answer and decides.
func (h httpCheck) judge(ctx context.Context, resp *http.Response) Result {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case h.Status == 0 && (resp.StatusCode < 200 || resp.StatusCode > 299):
		return bad("status %s", resp.Status)
	case h.Status != 0 && resp.StatusCode != h.Status:
		return bad("status %s, want %d", resp.Status, h.Status)
	case err != nil:
		return bad("status %s, then reading the body: %v", resp.Status, reason(ctx, err, h.Timeout))
	case h.content != nil && !h.content.Match(body):
		return bad("status %s, but the body does not match /%s/", resp.Status, h.Content)
	}
	return good("status %s", resp.Status)
}

// request makes the request of one run.
func (h httpCheck) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, h.Method, h.URL, http.NoBody)
	if err != nil {
		return nil, errors.New("the URL cannot be asked")
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

// client makes the client of one run. Proxies of the environment are not used: the check is about the host in the URL.
func (h httpCheck) client(ctx context.Context) (*http.Client, error) {
	transport := &http.Transport{
		// The transport detaches a dial from its request, to keep the connection for later ones. There are none here, and
		// a peer that accepts and says nothing would be left hanging: so the run's own end holds for dial and handshake.
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
		case len(via) > maxRedirects: // with the first request
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}
	return client, nil
}

// readCAs reads the authorities to trust. It is done at every run: the file may be renewed at any time, and on machines
// that share the configuration but not the service it need not exist.
func readCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// Display masks the password: the status page is open to everybody who can reach the agent.
func (h httpCheck) Display() string {
	shown := h.URL
	if u, err := url.Parse(h.URL); err == nil && u.User != nil {
		shown = u.Redacted()
	}
	return fmt.Sprintf("Dependency::HTTP(%s)", shown)
}

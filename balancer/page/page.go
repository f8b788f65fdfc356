// Package page serves a cluster's downpage while no node has weight: status 503 with a page and a Retry-After header.
package page

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// builtIn is the page of clusters that configure none.
//
//go:embed page.html
var builtIn []byte

// maxHTML is the maximum size of a page in bytes. It leaves room for styles but not for images: pages are kept in memory.
const maxHTML = 1 << 20

// Content is a downpage, loaded from the files in the config.
type Content struct {
	body   []byte
	retry  string // Retry-After, in seconds
	policy *listen.Policy
}

// load loads the downpage of a cluster. Its errors name the config key.
func load(c config.Cluster) (*Content, error) {
	section := "clusters." + c.Name + ".downpage"
	content := &Content{body: builtIn, retry: strconv.FormatInt(int64((c.Downpage.RetryAfter+time.Second-1)/time.Second), 10)}
	if c.Downpage.HTML != "" {
		var err error
		if content.body, err = readHTML(c.Downpage.HTML); err != nil {
			return nil, fmt.Errorf("%s.html: %w", section, err)
		}
	}
	var err error
	content.policy, err = listen.Daemon{Name: "lb balance", Section: section}.LoadPolicy(config.Access{TLS: c.Downpage.TLS})
	return content, err
}

func readHTML(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe without a writer would block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: not a regular file: set html to a regular file", path)
	}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(f, maxHTML+1))
	if err == nil && len(body) > maxHTML {
		err = fmt.Errorf("read %s: larger than %d bytes: remove embedded images", path, maxHTML)
	}
	if err == nil && len(bytes.TrimSpace(body)) == 0 {
		err = fmt.Errorf("read %s: empty file: add a page, or remove the key for the built-in page", path)
	}
	return body, err
}

// ServeHTTP sends the same response to every request, so that no client mistakes it for one of the service.
func (c *Content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(c.body)))
	h.Set("Retry-After", c.retry)
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close") // so that the next request can reach a node that is back
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method != http.MethodHead {
		_, _ = w.Write(c.body) // the client may have gone
	}
}

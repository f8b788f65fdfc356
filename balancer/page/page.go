// Package page answers clients of a cluster that has no node left, in the nodes' stead: status 503, a page, and when to try again.
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

// builtIn is the page of who has none of their own.
//
//go:embed page.html
var builtIn []byte

// maxHTML bounds a page, in bytes: a page with its style, but no pictures. It is kept in memory.
const maxHTML = 1 << 20

// Content is what a page says, read from the files that the configuration names.
type Content struct {
	body  []byte
	retry string // seconds
	keys  *listen.Policy
}

// Load reads the page of a cluster. What cannot be used is an error that names the key.
func Load(c config.Cluster) (*Content, error) {
	section := "clusters." + c.Name + ".downpage"
	content := &Content{body: builtIn, retry: strconv.FormatInt(int64((c.Downpage.RetryAfter+time.Second-1)/time.Second), 10)}
	if c.Downpage.HTML != "" {
		var err error
		if content.body, err = readHTML(c.Downpage.HTML); err != nil {
			return nil, fmt.Errorf("%s.html: %w", section, err)
		}
	}
	var err error
	content.keys, err = listen.Daemon{Name: "lb balance", Section: section}.LoadPolicy(config.Access{TLS: c.Downpage.TLS})
	return content, err
}

func readHTML(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // so that a pipe without a writer does not hang it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: it is no regular file: name one that is", path)
	}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(f, maxHTML+1))
	if err == nil && len(body) > maxHTML {
		err = fmt.Errorf("read %s: it has more than %d bytes: leave the pictures out", path, maxHTML)
	}
	if err == nil && len(bytes.TrimSpace(body)) == 0 {
		err = fmt.Errorf("read %s: it is empty: write a page into it, or leave the key out for the built-in one", path)
	}
	return body, err
}

// ServeHTTP gives the same answer to every request, so that no client takes it for one of the service.
func (c *Content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(c.body)))
	h.Set("Retry-After", c.retry)
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close") // the next request is to find a node that is back
	w.WriteHeader(http.StatusServiceUnavailable)
	if r.Method != http.MethodHead {
		_, _ = w.Write(c.body) // who does not read the answer does not want it
	}
}

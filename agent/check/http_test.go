package check

import (
	"bufio"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// page responds to each path as its name says.
func page(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ok":
		fmt.Fprintln(w, "all OK here")
	case "/204":
		w.WriteHeader(http.StatusNoContent)
	case "/302":
		http.Redirect(w, r, "/ok", http.StatusFound)
	case "/hop":
		if left, _ := strconv.Atoi(r.URL.RawQuery); left > 0 {
			http.Redirect(w, r, fmt.Sprintf("/hop?%d", left-1), http.StatusFound)
		}
	case "/loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case "/300":
		w.WriteHeader(http.StatusMultipleChoices)
	case "/500":
		http.Error(w, "no database", http.StatusInternalServerError)
	case "/big":
		io.CopyN(w, zeros{}, maxBody)
		io.WriteString(w, "OK, but too late")
	case "/short":
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	case "/long":
		w.Header().Set("X-Long", strings.Repeat("x", maxHeader))
	case "/echo":
		fmt.Fprintf(w, "%s %s host=%s ua=%s x=%s auth=%s accepts=%s len=%d", r.Method, r.URL.RequestURI(), r.Host, r.UserAgent(),
			r.Header.Get("X-Y"), r.Header.Get("Authorization"), r.Header.Get("Accept-Encoding"), r.ContentLength)
	default:
		http.NotFound(w, r)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(page))
	defer server.Close()
	for _, tc := range []struct {
		name    string
		path    string
		options map[string]any
		ok      bool
		reason  string
	}{
		{"200", "/ok", nil, true, "status 200 OK"},
		{"204 without a body", "/204", nil, true, "status 204"},
		{"HEAD", "/ok", map[string]any{"method": "HEAD"}, true, "status 200"},
		{"404", "/nope", nil, false, "status 404 Not Found"},
		{"500", "/500", nil, false, "status 500 Internal Server Error"},
		{"500 configured", "/500", map[string]any{"status": 500}, true, "status 500"},
		{"204 where 200 is configured", "/204", map[string]any{"status": 200}, false, "want 200"},
		{"the first status above 2xx", "/300", nil, false, "status 300 Multiple Choices"},
		{"a redirect is not followed", "/302", nil, false, "status 302 Found"},
		{"a redirect is followed if configured", "/302", map[string]any{"follow_redirects": true, "content": "all OK"}, true, "status 200"},
		{"a redirect may be the configured status", "/302", map[string]any{"status": 302}, true, "status 302"},
		{"ten redirects are followed", "/hop?10", map[string]any{"follow_redirects": true}, true, "status 200"},
		{"eleven are not", "/hop?11", map[string]any{"follow_redirects": true}, false, "stopped after 10 redirects"},
		{"a loop of redirects ends", "/loop", map[string]any{"follow_redirects": true}, false, "stopped after 10 redirects"},
		{"content matches", "/ok", map[string]any{"content": "^all O.* here"}, true, "status 200"},
		{"content does not match", "/ok", map[string]any{"content": "^OK"}, false, "does not match /^OK/"},
		{"content after the first MiB", "/big", map[string]any{"content": "OK"}, false, "does not match"},
		{"a truncated body", "/short", nil, false, "the body could not be read"},
		{"the query is kept", "/echo?deep=1&x=a%20b", map[string]any{"content": `GET /echo\?deep=1&x=a%20b `}, true, ""},
		{"user agent", "/echo", map[string]any{"content": " ua=lb "}, true, ""},
		{"headers and host", "/echo", map[string]any{"headers": map[string]string{"X-Y": "z", "Host": "www.example.com"},
			"content": "host=www.example.com .* x=z "}, true, ""},
		{"host in lower case", "/echo", map[string]any{"headers": map[string]string{"host": "www.example.com"},
			"content": "host=www.example.com "}, true, ""},
		{"no compression is requested", "/echo", map[string]any{"content": " accepts= "}, true, ""},
		{"a header beyond the limit", "/long", nil, false, "header"},
		{"POST has a length", "/echo", map[string]any{"method": "POST", "content": "^POST .* len=0$"}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			options := map[string]any{"url": server.URL + tc.path}
			for k, v := range tc.options {
				options[k] = v
			}
			want(t, run(t, dependency("http", options), Host{}), tc.ok, tc.reason)
		})
	}
	t.Run("basic auth from the URL", func(t *testing.T) {
		url := strings.Replace(server.URL, "http://", "http://user:pw@", 1) + "/echo"
		want(t, run(t, dependency("http", map[string]any{"url": url, "content": "auth=Basic dXNlcjpwdw=="}), Host{}), true, "")
	})
}

func TestHTTPTrustsTheGivenCAOnly(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(page))
	server.Config.ErrorLog = nil
	defer server.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	url := server.URL + "/ok"
	want(t, run(t, dependency("http", map[string]any{"url": url, "ca_file": ca}), Host{}), true, "status 200")
	want(t, run(t, dependency("http", map[string]any{"url": url}), Host{}), false, "certificate")
	want(t, run(t, dependency("http", map[string]any{"url": url, "ca_file": empty}), Host{}), false, "contains no PEM certificate")
	want(t, run(t, dependency("http", map[string]any{"url": url, "ca_file": ca + "x"}), Host{}), false, "no such file")
}

// silent accepts and counts connections, and sends nothing.
func silent(t *testing.T) (address string, accepted func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int)
	go func() {
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the check has ended, but its connection is open")
			}
			c.Close()
		}
		done <- len(conns)
	}()
	return l.Addr().String(), func() int { l.Close(); return <-done }
}

func TestASilentServerGetsOneRequestAndTimesOut(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			address, accepted := silent(t)
			c := dependency("http", map[string]any{"url": scheme + "://" + address + "/"})
			c.Timeout = time.Second // on a busy machine the connection alone can take 50 ms
			want(t, run(t, c, Host{}), false, "timed out after 1s")
			if n := accepted(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestEachRunOpensANewConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan int)
	go func() {
		n := 0
		defer func() { served <- n }()
		for ; n < 2; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			c.Close() // the server closes idle connections
		}
	}()
	c := build(t, dependency("http", map[string]any{"url": "http://" + l.Addr().String()}), Host{})
	for range 2 {
		want(t, c.Run(t.Context()), true, "status 200")
	}
	if n := <-served; n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestHTTPConnectionRefused(t *testing.T) {
	address, closed := silent(t)
	closed()
	r := run(t, dependency("http", map[string]any{"url": "http://u:secret@" + address + "/"}), Host{})
	want(t, r, false, "connection refused")
	if strings.Contains(r.Detail, "http://") {
		t.Errorf("the reason %q repeats the URL", r.Detail)
	}
}

func FuzzURL(f *testing.F) {
	f.Add("http://localhost:3000/heartbeat?deep=1", "user", "pw")
	f.Add("http://[::1%25lo]/", "", "a:b@c/")
	f.Add("\x00", "\xff", "\x00")
	f.Fuzz(func(t *testing.T, s, user, password string) {
		if badURL(s) != "" {
			return
		}
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("%q passes as a URL: %v", s, err)
		}
		u.User = url.UserPassword(user, "s3cret"+password)
		h := httpCheck{httpOptions: httpOptions{URL: u.String(), Method: http.MethodGet}}
		if shown := h.Display(); strings.Count(shown, "s3cret") > strings.Count(s+user, "s3cret") {
			t.Errorf("the password of %q is shown: %q", h.URL, shown)
		}
		if strings.ContainsFunc(h.Display(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q is shown as %q, which is not one line", h.URL, h.Display())
		}
		if _, err := h.request(t.Context()); err != nil {
			t.Errorf("%q passes as a URL, but cannot be requested: %v", h.URL, err)
		}
	})
}

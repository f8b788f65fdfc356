package listen

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
)

const testWrite, testIdle = 10 * time.Second, time.Minute

// pipes listens for the connections that are put into it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, open := <-p; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// greedy reads a whole body, and answers with a page as large as the query's n asks for.
func greedy(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	body, err := io.ReadAll(r.Body)
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		http.Error(w, "too big", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "cut off", http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%d bytes", len(body))
	if r.URL.Path == "/large" {
		io.WriteString(w, strings.Repeat("x", 1<<20))
	}
}

// drip writes a text to c byte by byte, one each second, until c is closed, and reads what comes, as a kernel's buffer would.
func drip(c net.Conn, text string) {
	drained := make(chan struct{})
	go func() { defer close(drained); io.Copy(io.Discard, c) }()
	defer func() { <-drained }()
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// TestSlowClientsAreCutOff has a clock of its own: what takes minutes takes none.
func TestSlowClientsAreCutOff(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := ca.server()
	const slack = 2 * time.Second // half a second's pause of net/http before it closes, and a drip's period
	for _, tc := range []struct {
		name   string
		client func(net.Conn)
		within time.Duration
	}{
		{"says nothing", func(net.Conn) {}, readHeaderTime},
		{"sends headers in drips", func(c net.Conn) { drip(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }, readHeaderTime},
		{"begins TLS and stops", func(c net.Conn) { c.Write([]byte{handshakeRecord, 3, 1}) }, readHeaderTime},
		{"sends a TLS hello in drips", func(c net.Conn) { drip(c, "\x16\x03\x01\x02\x00\x01"+strings.Repeat("\x00", 60)) }, readHeaderTime},
		{"ends the handshake and stops", func(c net.Conn) {
			tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
			io.Copy(io.Discard, c)
		}, readHeaderTime},
		{"sends a body in drips", func(c net.Conn) {
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			drip(c, strings.Repeat("x", 1000))
		}, readTime},
		{"does not read a large answer", func(c net.Conn) { io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n") }, testWrite},
		{"keeps its connection and says no more", func(c net.Conn) {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			http.ReadResponse(bufio.NewReader(c), nil)
		}, testIdle},
	} {
		for _, kind := range []string{"TCP", "socket"} {
			if kind == "socket" && strings.Contains(tc.name, "TLS") || kind == "socket" && strings.Contains(tc.name, "handshake") {
				continue // it speaks plain HTTP only
			}
			t.Run(tc.name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conns := make(pipes)
					var l net.Listener = conns
					if kind == "TCP" {
						l = guardOf(t, config.Access{TLS: files}).OptionalTLS(l)
					}
					s := NewServer(http.HandlerFunc(greedy), slog.New(slog.DiscardHandler), testWrite, testIdle)
					served := make(chan error, 1)
					go func() { served <- s.Serve(Limit(l, 1)) }()
					near, far := net.Pipe()
					begun, closed := time.Now(), make(chan time.Duration, 1)
					conns <- &closing{Conn: far, once: sync.OnceFunc(func() { closed <- time.Since(begun) })}
					done := make(chan struct{})
					go func() { defer close(done); tc.client(near) }()
					if after := <-closed; after < tc.within || after > tc.within+slack {
						t.Errorf("cut off after %s, want %s", after, tc.within)
					}
					near.Close()
					<-done
					s.Close()
					if err := <-served; !errors.Is(err, http.ErrServerClosed) {
						t.Error(err)
					}
				})
			})
		}
	}
}

// closing tells when it is closed for the first time.
type closing struct {
	net.Conn
	once func()
}

func (c *closing) Close() error {
	c.once()
	return c.Conn.Close()
}

func TestHugeClientsAreRefused(t *testing.T) {
	ca := newAuthority(t, "ca")
	path := filepath.Join(shortDir(t), "s")
	control, err := theAgent().ListenControl(t.Context(), path, &Policy{})
	if err != nil {
		t.Fatal(err)
	}
	tcp, address := bindTCP(t)
	s := NewServer(http.HandlerFunc(greedy), slog.New(slog.DiscardHandler), testWrite, testIdle)
	served := make(chan error, 2)
	go func() { served <- s.Serve(Limit(control, 8)) }()
	go func() { served <- s.Serve(Limit(guardOf(t, config.Access{TLS: ca.server()}).OptionalTLS(tcp), 8)) }()
	defer func() {
		s.Close()
		<-served
		<-served
	}()
	for name, dial := range map[string]func() (net.Conn, error){
		"socket": func() (net.Conn, error) { return net.Dial("unix", path) },
		"TCP":    func() (net.Conn, error) { return net.Dial("tcp", address) },
		"TLS":    func() (net.Conn, error) { return tls.Dial("tcp", address, &tls.Config{RootCAs: ca.pool()}) },
	} {
		for _, tc := range []struct {
			name, request string
			status        int
		}{
			{"as much body as may be", fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", MaxBody, strings.Repeat("x", MaxBody)), 200},
			{"one byte more", fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", MaxBody+1, strings.Repeat("x", MaxBody+1)), 413},
			{"a body said to be endless", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n" + strings.Repeat("x", MaxBody+1), 413},
			{"a body in chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + strings.Repeat("x", 0x20000) + "\r\n0\r\n\r\n", 413},
			{"one large header", "GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("x", 2*MaxHeader) + "\r\n\r\n", 431},
			{"many small headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", MaxHeader/3) + "\r\n", 431},
			{"a long path", "GET /" + strings.Repeat("x", 2*MaxHeader) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
			{"no HTTP", "\x00\x01\x02\r\n\r\n", 400},
		} {
			t.Run(tc.name+", "+name, func(t *testing.T) {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				wrote := make(chan struct{})
				go func() { defer close(wrote); io.WriteString(c, tc.request) }() // fails when the server has seen enough
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || r.StatusCode != tc.status {
					t.Errorf("%+v, %v, want %d", r, err, tc.status)
				}
				c.Close()
				<-wrote
			})
		}
	}
}

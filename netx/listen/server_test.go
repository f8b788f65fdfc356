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

// pipeListener accepts the connections that are sent to it.
type pipeListener chan net.Conn

func (p pipeListener) Accept() (net.Conn, error) {
	if conn, open := <-p; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipeListener) Close() error   { close(p); return nil }
func (p pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// readAllHandler reads the whole body. The path /large gets a large response.
func readAllHandler(w http.ResponseWriter, r *http.Request) {
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

// trickle writes text to c one byte per second until c is closed, and drains what it receives, as a kernel's buffer
// would.
func trickle(c net.Conn, text string) {
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

// TestSlowClientsAreDisconnected runs on synctest's clock, so minutes take no time.
func TestSlowClientsAreDisconnected(t *testing.T) {
	ca := newAuthority(t, "ca")
	files := ca.server()
	const slack = 2 * time.Second // net/http pauses for half a second before it closes, and trickle has a period of one second
	for _, tc := range []struct {
		name   string
		client func(net.Conn)
		within time.Duration
	}{
		{"says nothing", func(net.Conn) {}, readHeaderTimeout},
		{"sends headers slowly", func(c net.Conn) { trickle(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }, readHeaderTimeout},
		{"begins TLS and stops", func(c net.Conn) { c.Write([]byte{recordTypeHandshake, 3, 1}) }, readHeaderTimeout},
		{"sends a TLS hello slowly", func(c net.Conn) {
			trickle(c, "\x16\x03\x01\x02\x00\x01"+strings.Repeat("\x00", 60))
		}, readHeaderTimeout},
		{"completes the handshake and stops", func(c net.Conn) {
			tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
			io.Copy(io.Discard, c)
		}, readHeaderTimeout},
		{"sends a body slowly", func(c net.Conn) {
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			trickle(c, strings.Repeat("x", 1000))
		}, readTimeout},
		{"does not read a large response", func(c net.Conn) { io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n") }, testWrite},
		{"keeps an idle connection", func(c net.Conn) {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			http.ReadResponse(bufio.NewReader(c), nil)
		}, testIdle},
	} {
		for _, kind := range []string{"TCP", "socket"} {
			if kind == "socket" && strings.Contains(tc.name, "TLS") || kind == "socket" && strings.Contains(tc.name, "handshake") {
				continue // the socket speaks plain HTTP only
			}
			t.Run(tc.name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conns := make(pipeListener)
					var l net.Listener = conns
					if kind == "TCP" {
						l = newTestAuthorizer(t, config.Access{TLS: files}).OptionalTLS(l)
					}
					s := NewServer(http.HandlerFunc(readAllHandler), slog.New(slog.DiscardHandler), testWrite, testIdle)
					served := make(chan error, 1)
					go func() { served <- s.Serve(Limit(l, 1)) }()
					near, far := net.Pipe()
					begun, closed := time.Now(), make(chan time.Duration, 1)
					conns <- &closeNotifier{Conn: far, once: sync.OnceFunc(func() { closed <- time.Since(begun) })}
					done := make(chan struct{})
					go func() { defer close(done); tc.client(near) }()
					if after := <-closed; after < tc.within || after > tc.within+slack {
						t.Errorf("disconnected after %s, want %s", after, tc.within)
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

// closeNotifier calls once when it is closed.
type closeNotifier struct {
	net.Conn
	once func()
}

func (c *closeNotifier) Close() error {
	c.once()
	return c.Conn.Close()
}

func TestOversizedRequestsAreRejected(t *testing.T) {
	ca := newAuthority(t, "ca")
	path := filepath.Join(shortDir(t), "s")
	control, err := testDaemon().ListenControl(t.Context(), path, &Policy{})
	if err != nil {
		t.Fatal(err)
	}
	tcp, address := listenLoopback(t)
	s := NewServer(http.HandlerFunc(readAllHandler), slog.New(slog.DiscardHandler), testWrite, testIdle)
	served := make(chan error, 2)
	go func() { served <- s.Serve(Limit(control, 8)) }()
	go func() {
		served <- s.Serve(Limit(newTestAuthorizer(t, config.Access{TLS: ca.server()}).OptionalTLS(tcp), 8))
	}()
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
			{"a body of the maximum size",
				fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", MaxBody, strings.Repeat("x", MaxBody)), 200},
			{"one byte more",
				fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", MaxBody+1, strings.Repeat("x", MaxBody+1)), 413},
			{"a huge Content-Length",
				"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n" + strings.Repeat("x", MaxBody+1), 413},
			{"a chunked body",
				"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" +
					strings.Repeat("x", 0x20000) + "\r\n0\r\n\r\n", 413},
			{"one large header", "GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("x", 2*MaxHeader) + "\r\n\r\n", 431},
			{"many small headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", MaxHeader/3) + "\r\n", 431},
			{"a long path", "GET /" + strings.Repeat("x", 2*MaxHeader) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
			{"not HTTP", "\x00\x01\x02\r\n\r\n", 400},
		} {
			t.Run(tc.name+", "+name, func(t *testing.T) {
				c, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				wrote := make(chan struct{})
				go func() { defer close(wrote); io.WriteString(c, tc.request) }() // fails once the server has rejected the request
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

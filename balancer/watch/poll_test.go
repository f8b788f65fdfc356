package watch

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// nodeAt returns a node whose agent listens on that address.
func nodeAt(address net.Addr) config.Node {
	at := netip.MustParseAddrPort(address.String())
	return config.Node{Address: at.Addr(), Port: at.Port(), Path: "/web/status?a=b%2Fc"}
}

// poll polls once.
func poll(t *testing.T, p Poller, timeout time.Duration) decide.Reading {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return p.Poll(ctx)
}

func TestPollOverHTTP(t *testing.T) {
	var received atomic.Pointer[http.Request]
	serve := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { received.Store(r); h(w, r) }
	}
	tests := []struct {
		name     string
		handler  http.HandlerFunc
		answered bool
		health   int
		detail   string
	}{
		{"health", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Health", "92") }, true, 92, "agent reported health 92"},
		{"body", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Health: 55\n") }, true, 55, `"Health: 55" in the body`},
		{"down", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Health", "0"); w.WriteHeader(503) }, true, 0,
			"status 503"},
		{"down, then cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(503)
			fmt.Fprint(w, "half")
		}, true, 0, "status 503"},
		{"redirect is not followed", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
			true, 0, "status 302"},
		{"an endless body", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "Health: 7\n")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, true, 7, `"Health: 7" in the body`},
		{"a health after 64 KiB", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.Repeat(" ", maxResponseBody), "Health: 7\n")
		}, true, 0, "agent sent no health"},
		{"an endless header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		}, false, 0, "header exceeds 64 KiB"},
		{"the connection is cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, 0,
			"closed without a response"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			agent := httptest.NewServer(serve(tt.handler))
			defer agent.Close()
			p := NewHTTPPoller(nodeAt(agent.Listener.Addr()))
			defer p.Close()
			r := poll(t, p, 10*time.Second)
			if r.Answered != tt.answered || r.Health != tt.health || !strings.Contains(r.Detail, tt.detail) || r.At.IsZero() {
				t.Errorf("got %+v, want answered %v, health %d, %q", r, tt.answered, tt.health, tt.detail)
			}
			req := received.Load()
			if got := fmt.Sprintf("%s %s %s", req.Method, req.RequestURI, req.UserAgent()); got != "GET /web/status?a=b%2Fc lb" {
				t.Errorf("the agent received %q", got)
			}
		})
	}
}

// A force to a health is a ceiling: it has no effect on a node that measures 0.
func TestCeilingOnADownNodeIsNoForce(t *testing.T) {
	for body, forced := range map[string]bool{"Health: 0\nMeasured Health: 0\n": false, "Health: 0\nMeasured Health: 85\n": true,
		"": true} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Health-Forced", "health")
			http.Error(w, body, http.StatusServiceUnavailable)
		}))
		p := NewHTTPPoller(nodeAt(server.Listener.Addr()))
		if r := poll(t, p, 5*time.Second); r.Forced != forced || r.Health != 0 {
			t.Errorf("%q: %+v", body, r)
		}
		p.Close()
		server.Close()
	}
}

func TestPollDistinguishesForcedFromMeasured(t *testing.T) {
	for _, kind := range []string{"", "down", "health"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Health", "40")
			if kind != "" {
				w.Header().Set("X-Health-Forced", kind)
			}
		}))
		p := NewHTTPPoller(nodeAt(server.Listener.Addr()))
		if r := poll(t, p, 5*time.Second); r.Forced != (kind != "") || r.Health != 40 {
			t.Errorf("forced %q: %+v", kind, r)
		}
		p.Close()
		server.Close()
	}
}

func TestPollOfSomethingThatIsNoAgent(t *testing.T) {
	tests := []struct {
		name   string
		conn   func(c net.Conn)
		detail string
	}{
		{"garbage", func(c net.Conn) { fmt.Fprint(c, "\x00\x01 what?\r\n\r\n") }, "malformed"},
		{"closes at once", func(net.Conn) {}, "closed without a response"},
		{"reset", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, "reset by peer"},
		{"accepts and never responds", nil, "timeout after"},
		{"a byte at a time", func(c net.Conn) {
			for _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nX-Long: ")); err == nil; _, err = c.Write([]byte("x")) {
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, _ = c.Read(make([]byte, 1))
			}
		}, "timeout after"},
		{"a header without an end", func(c net.Conn) {
			for _, err := fmt.Fprint(c, "HTTP/1.1 200 OK\r\n"); err == nil; _, err = fmt.Fprint(c, strings.Repeat("A: b\r\n", 100)) {
			}
		}, "header exceeds 64 KiB"},
		{"endless 100 Continue", func(c net.Conn) {
			for _, err := fmt.Fprint(c, ""); err == nil; _, err = fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n") {
			}
		}, "too many 1xx responses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := listenOn(t, "127.0.0.1:0")
			var serving sync.WaitGroup
			defer serving.Wait()
			defer l.Close()
			serving.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					if tt.conn == nil {
						_, _ = bufio.NewReader(c).Peek(1 << 16) // until the other side closes it
					} else if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
						tt.conn(c)
					}
					_ = c.Close()
				}
			})
			p := NewHTTPPoller(nodeAt(l.Addr()))
			defer p.Close()
			timeout := 10 * time.Second
			if strings.Contains(tt.detail, "timeout") {
				timeout = 50 * time.Millisecond
			}
			if r := poll(t, p, timeout); r.Answered || r.Health != 0 || !strings.Contains(r.Detail, tt.detail) {
				t.Errorf("got %+v, want no response: %q", r, tt.detail)
			}
		})
	}
	t.Run("nothing listens", func(t *testing.T) {
		l := listenOn(t, "127.0.0.1:0")
		_ = l.Close()
		p := NewHTTPPoller(nodeAt(l.Addr()))
		defer p.Close()
		if r := poll(t, p, 10*time.Second); r.Answered || r.Detail != "connection refused" {
			t.Errorf("got %+v", r)
		}
	})
}

func listenOn(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A restarted agent leaves a dead connection behind. The next poll must not fail.
func TestRestartedAgentIsNotMissed(t *testing.T) {
	agent := func(l net.Listener, conns *atomic.Int32) *httptest.Server {
		s := &httptest.Server{Listener: l, Config: &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Health", "92") }),
			ConnState: func(c net.Conn, state http.ConnState) {
				if state == http.StateNew {
					conns.Add(1)
					_ = c.(*net.TCPConn).SetLinger(0) // closing the connection resets it
				}
			},
		}}
		s.Start()
		return s
	}
	var conns atomic.Int32
	l := listenOn(t, "127.0.0.1:0")
	first := agent(l, &conns)
	p := NewHTTPPoller(nodeAt(l.Addr()))
	defer p.Close()
	for range 3 {
		if r := poll(t, p, 10*time.Second); !r.Answered {
			t.Fatal(r.Detail)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("three polls used %d connections, want 1", n)
	}
	first.CloseClientConnections()
	first.Close()
	second := agent(listenOn(t, l.Addr().String()), &conns)
	defer second.Close()
	if r := poll(t, p, 10*time.Second); !r.Answered || r.Health != 92 {
		t.Errorf("after the restart: %+v", r)
	}
}

// The reset of a dead connection may arrive only after the request was sent.
func TestPollIsRetriedWhenTheConnectionDies(t *testing.T) {
	l := listenOn(t, "127.0.0.1:0")
	var serving sync.WaitGroup
	defer serving.Wait()
	defer l.Close()
	serving.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(c)
			if _, err := http.ReadRequest(in); err == nil {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Health: %d\r\nContent-Length: 0\r\n\r\n", 10+n)
			}
			if n == 0 {
				_, _ = http.ReadRequest(in) // the second request is read, then the connection dies
			}
			_ = c.Close()
		}
	})
	p := NewHTTPPoller(nodeAt(l.Addr()))
	defer p.Close()
	if r := poll(t, p, 10*time.Second); r.Health != 10 {
		t.Fatalf("first poll: %+v", r)
	}
	if r := poll(t, p, 10*time.Second); !r.Answered || r.Health != 11 {
		t.Errorf("second poll: %+v, want the response on a new connection", r)
	}
}

func TestConnectionsAreReusedWherePossible(t *testing.T) {
	tests := []struct {
		name, response string
		closes         bool // the server closes the connection afterwards
		detail         string
		conns          int // for three polls
	}{
		{"with a length", "HTTP/1.1 200 OK\r\nX-Health: 9\r\nContent-Length: 2\r\n\r\nok", false, "health 9", 1},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nHealth: \r\n1\r\n9\r\n0\r\n\r\n", false,
			`"Health: 9" in the body`, 1},
		{"after an early hint", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-Health: 9\r\nContent-Length: 0\r\n\r\n", false,
			"health 9", 1},
		{"down", "HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\nno", false, "status 503", 1},
		{"announces that it closes", "HTTP/1.1 200 OK\r\nX-Health: 9\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true, "health 9",
			3},
		{"closes without announcement", "HTTP/1.1 200 OK\r\nX-Health: 9\r\nContent-Length: 0\r\n\r\n", true, "health 9", 3},
		{"ends with the connection", "HTTP/1.1 200 OK\r\n\r\nHealth: 9", true, `"Health: 9" in the body`, 3},
		{"HTTP/1.0, as litmus_paper's", "HTTP/1.0 200 OK\r\n\r\nHealth: 9", true, `"Health: 9" in the body`, 3},
		{"sends more than the response", "HTTP/1.1 200 OK\r\nX-Health: 9\r\nContent-Length: 0\r\n\r\nand more", false, "health 9", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := listenOn(t, "127.0.0.1:0")
			var serving sync.WaitGroup
			var conns atomic.Int32
			serving.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					conns.Add(1)
					serving.Go(func() {
						defer c.Close()
						for in := bufio.NewReader(c); ; {
							if _, err := http.ReadRequest(in); err != nil {
								return
							}
							if _, err := fmt.Fprint(c, tt.response); err != nil || tt.closes {
								return
							}
						}
					})
				}
			})
			p := NewHTTPPoller(nodeAt(l.Addr()))
			for range 3 {
				if r := poll(t, p, 10*time.Second); !r.Answered || !strings.Contains(r.Detail, tt.detail) {
					t.Errorf("got %+v, want %q", r, tt.detail)
				}
			}
			p.Close()
			_ = l.Close()
			serving.Wait()
			if n := int(conns.Load()); n != tt.conns {
				t.Errorf("three polls used %d connections, want %d", n, tt.conns)
			}
		})
	}
}

// lateReader simulates a process that gets no CPU between the request and the deadline, while the response arrives in time.
type lateReader struct {
	*net.TCPConn
	answered <-chan struct{}
	deadline func() // waits for it
}

// Write implements io.Writer.
func (l *lateReader) Write(p []byte) (int, error) {
	n, err := l.TCPConn.Write(p)
	<-l.answered
	l.deadline()
	return n, err
}

func TestResponseReadAfterTheDeadlineCounts(t *testing.T) {
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nHealth: 92\n"
	for name, tt := range map[string]struct {
		sent, detail string
		answered     bool
	}{
		"a whole response": {response, `agent sent "Health: 92" in the body`, true},
		"none":             {"", "timeout after", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := listenOn(t, "127.0.0.1:0")
			answered, pollCtx := make(chan struct{}, 1), t.Context()
			var serving sync.WaitGroup
			serving.Go(func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					_, _ = c.Write([]byte(tt.sent))
					answered <- struct{}{}
				}
			})
			p := newHTTPPoller(netip.MustParseAddrPort(l.Addr().String()), "/web/status")
			dials := 0
			p.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				dials++
				c, err := (&net.Dialer{}).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &lateReader{c.(*net.TCPConn), answered, func() { <-pollCtx.Done() }}, nil
			}
			defer func() { p.Close(); _ = l.Close(); serving.Wait() }()
			polls := 1
			if tt.answered {
				polls = 2
			}
			for range polls {
				var cancel context.CancelFunc
				pollCtx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
				r := p.Poll(pollCtx)
				cancel()
				if r.Answered != tt.answered || !strings.HasPrefix(r.Detail, tt.detail) {
					t.Fatalf("got %+v", r)
				}
			}
			if dials != 1 {
				t.Errorf("%d polls used %d connections", polls, dials)
			}
		})
	}
}

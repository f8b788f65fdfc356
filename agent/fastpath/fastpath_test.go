package fastpath

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/netx/listen"
)

// roundTrip sends a request and reads the response.
func roundTrip(t *testing.T, c net.Conn, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return read(t, c)
}

func read(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Fatal(err)
	}
	return r
}

// counting counts the answers of the fast path.
func counting(n *int) Find {
	f := find()
	return func(path []byte, now time.Time) *Answer {
		a := f(path, now)
		if a != nil {
			*n++
		}
		return a
	}
}

// Without this test the others would pass with a fast path that answers nothing.
func TestPlainRequestsTakeTheFastPath(t *testing.T) {
	for name, want := range map[string]int{
		"plain": 1, "another page": 1, "as curl": 1, "as Go": 1, "as Ruby": 1, "as check_http": 1, "as a browser": 1, "as a balancer": 1,
		"HTTP/1.0": 1, "HTTP/1.0 with a host": 1, "keep-alive": 1, "close": 1, "close, in upper case": 1,
		"a field that just fits": 1, "twenty at once": 20,
		"an unknown page": 0, "JSON": 0, "HTTP/1.0 keep-alive": 0, "a token": 0, "an empty body": 0, "a long field": 0, "HEAD": 0,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				s := newRig(t, counting(&n))
				defer s.stop()
				s.converse([]string{requests[name]}, 0)
				if n != want {
					t.Errorf("%d answers, want %d", n, want)
				}
			})
		})
	}
}

func TestShutdownClosesIdleConnectionsAndAnswersTheLastRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t, find())
		idle, silent, late, other := s.dial(), s.dial(), s.dial(), s.dial()
		for _, c := range []net.Conn{idle, late, other} {
			roundTrip(t, c, requests["plain"])
		}
		synctest.Wait() // all wait for requests
		begun := time.Now()
		stopped := make(chan time.Duration)
		go func() { s.stop(); stopped <- time.Since(begun) }()
		synctest.Wait()
		if r := roundTrip(t, late, requests["plain"]); r.StatusCode != 200 || !r.Close {
			t.Errorf("a request on its way got %s, Connection: close %v", r.Status, r.Close)
		}
		if r := roundTrip(t, other, requests["JSON"]); r.StatusCode != 200 {
			t.Errorf("a request for the server on its way got %s", r.Status)
		}
		for name, c := range map[string]net.Conn{"idle": idle, "silent": silent, "answered": late} {
			if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
				t.Errorf("%s: %d bytes, %v, want EOF", name, n, err)
			}
		}
		other.Close()
		if took := <-stopped; took > 2*requestGrace+time.Second {
			t.Errorf("Shutdown took %s", took)
		}
	})
}

// lateListener accepts a connection while it is being closed.
type lateListener struct {
	*pipes
	conns chan net.Conn
}

func (l lateListener) Accept() (net.Conn, error) {
	<-l.closed
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func TestShutdownServesConnectionsAcceptedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lateListener{&pipes{closed: make(chan struct{})}, make(chan net.Conn, 1)}
		near, far := net.Pipe()
		l.conns <- far
		close(l.conns)
		fast := New(l, find(), listen.NewServer(nil, slog.New(slog.DiscardHandler), testWrite, testIdle))
		go fast.Serve()
		stopped := make(chan struct{})
		go func() { fast.Shutdown(t.Context()); close(stopped) }()
		time.Sleep(2 * requestGrace) // the connection gets no processor meanwhile
		select {
		case <-stopped:
			t.Error("Shutdown did not wait for the connection")
		default:
		}
		if r := roundTrip(t, near, requests["plain"]); r.StatusCode != 200 || !r.Close {
			t.Errorf("it got %s, Connection: close %v", r.Status, r.Close)
		}
		<-stopped
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection is not closed: %v", err)
		}
	})
}

func TestShutdownGivesFirstRequestsMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t, find())
		c := s.dial()
		synctest.Wait() // it waits for a request
		stopped := make(chan struct{})
		go func() { s.stop(); close(stopped) }()
		time.Sleep(2 * requestGrace)
		if r := roundTrip(t, c, requests["plain"]); r.StatusCode != 200 || !r.Close {
			t.Errorf("it got %s, Connection: close %v", r.Status, r.Close)
		}
		<-stopped
	})
}

func TestShutdownWaitsForAnswersInProgress(t *testing.T) {
	for name, reads := range map[string]bool{"client reads": true, "client does not read": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRig(t, find())
				c := s.dial()
				io.WriteString(c, requests["plain"])
				synctest.Wait() // the answer is being written
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begun, stopped := time.Now(), make(chan time.Duration)
				go func() { s.fast.Shutdown(ctx); stopped <- time.Since(begun) }()
				time.Sleep(time.Second)
				want := 3 * time.Second
				if reads {
					want = time.Second
					if r := read(t, c); r.StatusCode != 200 {
						t.Error(r.Status)
					}
				}
				if took := <-stopped; took != want {
					t.Errorf("stopped after %s, want %s", took, want)
				}
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the connection is not closed: %v", err)
				}
				s.stop()
			})
		})
	}
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	for name, request := range map[string]string{"first answer": requests["plain"],
		"second answer": requests["plain"] + requests["plain"]} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRig(t, find())
				defer s.stop()
				c, begun := s.dial(), time.Now()
				io.WriteString(c, request)
				if name == "second answer" {
					read(t, c)
				}
				synctest.Wait()
				for s.open() > 0 {
					time.Sleep(time.Second)
				}
				if took := time.Since(begun); took < testWrite || took > testWrite+2*slack {
					t.Errorf("cut off after %s, want %s", took, testWrite)
				}
				c.Close()
			})
		})
	}
}

// open is the number of connections in the fast path.
func (s *rig) open() int {
	s.fast.mu.Lock()
	defer s.fast.mu.Unlock()
	return len(s.fast.conns)
}

// broken is a listener whose Accept fails a number of times.
type broken struct {
	net.Listener
	left int
}

var errBroken = errors.New("too many open files")

func (b *broken) Accept() (net.Conn, error) {
	if b.left > 0 {
		b.left--
		return nil, errBroken
	}
	return b.Listener.Accept()
}

func TestTheServerGetsErrorsOfAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
		l := New(&broken{p, 2}, find(), listen.NewServer(nil, slog.New(slog.DiscardHandler), testWrite, testIdle))
		var wg sync.WaitGroup
		wg.Go(l.Serve)
		for range 2 {
			if _, err := l.Accept(); err != errBroken {
				t.Error(err)
			}
		}
		near, far := net.Pipe()
		p.dialed <- far
		io.WriteString(near, "POST")
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "PO" {
			t.Errorf("read %q, %v", b, err)
		}
		c.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		wg.Wait()
	})
}

// This test is for the race detector.
func TestManyClientsAtOnce(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := listen.NewServer(http.HandlerFunc(handler), slog.New(slog.DiscardHandler), testWrite, testIdle)
	l := New(tcp, find(), server)
	var serving, clients sync.WaitGroup
	serving.Go(l.Serve)
	serving.Go(func() { server.Serve(l) })
	for i := range 16 {
		clients.Go(func() {
			c, err := net.Dial("tcp", tcp.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			in := bufio.NewReader(c)
			for j := range 100 {
				request, want := requests["plain"], 200
				if (i+j)%4 == 3 {
					request, want = plainRequest, 503
				}
				if j == 80 && i%2 == 0 { // from here on net/http has the connection
					request, want = requests["an unknown page"], 404
				}
				io.WriteString(c, request)
				r, err := http.ReadResponse(in, nil)
				if err != nil || r.StatusCode != want {
					t.Errorf("client %d, request %d: %v, %v, want %d", i, j, r, err, want)
					return
				}
				if b, err := io.ReadAll(r.Body); err != nil || want == 200 && string(b) != pages()["/web/status"].body {
					t.Errorf("client %d, request %d: %q, %v", i, j, b, err)
				}
			}
		})
	}
	clients.Wait()
	l.Shutdown(t.Context())
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	serving.Wait()
}

// sink discards everything.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error)      { return len(p), nil }
func (sink) SetReadDeadline(time.Time) error  { return nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

func TestAnAnswerAllocatesNothing(t *testing.T) {
	c := &conn{Conn: sink{}, listener: New(&pipes{}, find(), &http.Server{})}
	s, request := &buffers{}, []byte(requests["as a browser"])
	if n := testing.AllocsPerRun(100, func() {
		if rest, ok := c.answer(s, request); len(rest) > 0 || !ok {
			t.Fatal("not answered")
		}
	}); n != 0 {
		t.Errorf("%v allocations for an answer", n)
	}
}

func BenchmarkAnswer(b *testing.B) {
	c := &conn{Conn: sink{}, listener: New(&pipes{}, find(), &http.Server{})}
	for _, name := range []string{"plain", "as Ruby"} {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			s, request := &buffers{}, []byte(requests[name])
			b.ReportAllocs()
			for b.Loop() {
				c.answer(s, request)
			}
		})
	}
}

func TestAPanicInFindLeavesTheRequestToTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t, func([]byte, time.Time) *Answer { panic("a bug") })
		defer s.stop()
		for range 2 {
			got := s.converse([]string{"GET /web/status HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"}, 0).answers
			if !strings.HasSuffix(got, "\r\n\r\nHealth: 100\n") {
				t.Errorf("got %q, want the server's answer", got)
			}
		}
	})
}

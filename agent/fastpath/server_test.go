package fastpath

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/netx/listen"
)

const (
	testWrite = 15 * time.Second // later than the server gives a request up, or which of the two comes first is chance
	testIdle  = time.Minute
)

// page is a page of the test server.
type page struct {
	status int
	header http.Header
	body   string
}

func pages() map[string]page {
	made := map[string]page{}
	for path, p := range map[string]page{
		"/web/status":   {200, http.Header{"X-Health": {"100"}}, "Health: 100\n"},
		"/down/status":  {503, http.Header{"X-Health": {"0"}, "X-Health-Forced": {"down"}}, "Health: 0\nForced Reason: \xff\x00\n"},
		"/empty/status": {200, http.Header{}, ""},
		"/large/status": {200, http.Header{}, strings.Repeat("x", 1<<16)},
	} {
		p.header["Content-Type"] = []string{"text/plain; charset=utf-8"}
		p.header["Content-Length"] = []string{strconv.Itoa(len(p.body))}
		p.header["Cache-Control"] = []string{"no-store"}
		made[path] = p
	}
	return made
}

// handler serves the pages, as JSON on request, and describes any other request.
func handler(w http.ResponseWriter, r *http.Request) {
	p, known := pages()[r.URL.Path]
	if !known || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, listen.MaxBody))
		http.Error(w, r.Method+" "+r.RequestURI+" with "+strconv.Itoa(len(body))+" bytes", http.StatusNotFound)
		return
	}
	if listen.AcceptQuality(r, "application/json") > 0 {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}\n")
		return
	}
	for k, v := range p.header {
		w.Header()[k] = v
	}
	w.WriteHeader(p.status)
	io.WriteString(w, p.body)
}

// find finds the pages for the fast path.
func find() Find {
	known := map[string]*Answer{}
	for path, p := range pages() {
		known[path] = NewAnswer(p.status, p.header, []byte(p.body))
	}
	return func(path []byte, _ time.Time) *Answer { return known[string(path)] }
}

// pipes is a listener for connections inside a bubble.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// rig is a server with or without a fast path, in a bubble of testing/synctest.
type rig struct {
	t      *testing.T
	pipes  *pipes
	fast   *Listener // nil: none
	server *http.Server
	wg     sync.WaitGroup
}

func newRig(t *testing.T, find Find) *rig {
	s := &rig{t: t, pipes: &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}}
	s.server = listen.NewServer(http.HandlerFunc(handler), slog.New(slog.DiscardHandler), testWrite, testIdle)
	var l net.Listener = s.pipes
	if find != nil {
		s.fast = New(l, find, s.server)
		l = s.fast
		s.wg.Go(s.fast.Serve)
	}
	s.wg.Go(func() {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s
}

// stop stops the server. The bubble fails if a goroutine is left.
func (s *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.fast != nil {
		s.fast.Shutdown(ctx)
	}
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	s.wg.Wait()
}

func (s *rig) dial() net.Conn {
	near, far := net.Pipe()
	s.pipes.dialed <- far
	return near
}

// conversation is what a client receives on a connection.
type conversation struct {
	answers string        // all bytes
	took    time.Duration // until the server closed it
}

// converse sends the pieces, each after a pause, and reads until the server closes the connection.
func (s *rig) converse(pieces []string, pause time.Duration) conversation {
	c, begun := s.dial(), time.Now()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, p := range pieces {
			time.Sleep(pause)
			if _, err := io.WriteString(c, p); err != nil {
				return // it was closed
			}
		}
	}()
	var got bytes.Buffer
	io.Copy(&got, c)
	took := time.Since(begun)
	c.Close()
	<-sent
	return conversation{got.String(), took}
}

// both sends the same pieces to a server without and to one with the fast path, at the same time by the clock
// of each bubble.
func both(t *testing.T, pieces []string, pause time.Duration) (plain, fast conversation) {
	t.Helper()
	for find, to := range map[*Find]*conversation{nil: &plain, ptr(find()): &fast} {
		synctest.Test(t, func(t *testing.T) {
			var f Find
			if find != nil {
				f = *find
			}
			s := newRig(t, f)
			defer s.stop()
			*to = s.converse(pieces, pause)
		})
	}
	return plain, fast
}

func ptr[T any](v T) *T { return &v }

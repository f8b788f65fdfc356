package balancer

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/hook"
	"github.com/braintree/lb/balancer/server"
	"github.com/braintree/lb/netx/golden"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
)

// ask puts one request to a handler and prints the exchange.
func ask(h http.Handler, method, target, accept string) string {
	r := httptest.NewRequest(method, target, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var b strings.Builder
	fmt.Fprintf(&b, "> %s %s %s\n< %d %s\n", method, target, accept, w.Code, w.Header().Get("Content-Type"))
	if body := w.Body.String(); body != "" {
		fmt.Fprintf(&b, "| %q\n", body)
	}
	return b.String() + "\n"
}

// admitAll admits whoever asks.
func admitAll(r *http.Request, _ string) (*http.Request, *listen.Refusal) { return r, nil }

func (b *bench) server() *server.Server {
	hooks := func() map[string]hook.Counts { return map[string]hook.Counts{"page": {Delivered: 3, Lost: 1}} }
	report := b.engine.rec.Report
	return server.New(server.Options{
		Clusters: b.engine, Drains: b.engine, Version: "1.2.3", Log: slog.New(slog.DiscardHandler), AdmitTCP: admitAll, AdmitSocket: admitAll,
		Journal: report.Journal, Hooks: hooks, Collectors: report.Metrics.Collectors(),
	})
}

// handler answers as the TCP listener does.
func (b *bench) handler() http.Handler { return b.server().TCP() }

func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.fleet.set("10.0.0.3", 0)
		c := webapp("web", 7, 1, 2, 3)
		c.MaxWeight = 60
		b.boot(c)
		b.start("web")
		b.wait(10 * time.Second)
		b.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put destination" {
				return errBusy
			}
			return nil
		})
		b.fleet.set("10.0.0.1", 0)
		b.wait(3 * time.Second)
		h := b.handler()
		for _, tt := range []struct{ path, file string }{{"/", "list.json"}, {"/cluster/web", "cluster.json"}, {"/cluster/web/status", "cluster.json"}} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", tt.path, nil)
			r.Header.Set("Accept", "application/json")
			h.ServeHTTP(w, r)
			var indented strings.Builder
			var v any
			if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
				t.Fatal(err)
			}
			enc := json.NewEncoder(&indented)
			enc.SetIndent("", "  ")
			if err := enc.Encode(v); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, "testdata/"+tt.file, indented.String())
		}
	})
}

func TestAStopIsCarriedOutThoughItsClientHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.fleet.set("10.0.0.1", 92)
		b.boot(webapp("web", 7, 1))
		b.start("web")
		dial, end := b.serve()
		defer end()
		wake := b.hang()

		conn := dial()
		if _, err := io.WriteString(conn, "DELETE /cluster/web HTTP/1.1\r\nHost: lb\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the server has read the request and seen the client go
		b.want("7 wlc 10.0.0.1=92")
		wake()
		b.want("")
		b.wait(10 * time.Second)
		b.want("") // and it stays so
	})
}

// serve serves the bench to clients that dial.
func (b *bench) serve() (dial func() net.Conn, end func()) {
	conns, none := make(pipes), make(pipes)
	s := b.server()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(conns, none) }()
	dial = func() net.Conn {
		near, far := net.Pipe()
		conns <- far
		return near
	}
	end = func() {
		s.Shutdown()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	}
	return dial, end
}

// pipes listens for the connections that are put into it.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, open := <-p; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

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

	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/server"
	"github.com/braintree/lb/netx/golden"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
)

// roundTrip sends a request to a handler, and returns request and response as text.
func roundTrip(h http.Handler, method, target, accept string) string {
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

// admitAll admits every client.
func admitAll(r *http.Request, _ string) (*http.Request, *listen.Refusal) { return r, nil }

func (r *rig) server() *server.Server {
	hooks := func() map[string]journal.Deliveries {
		return map[string]journal.Deliveries{"page": {Delivered: 3, Lost: 1}}
	}
	report := r.engine.rec.Report
	return server.New(server.Options{
		Clusters: r.engine, Drains: r.engine, Version: "1.2.3", Log: slog.New(slog.DiscardHandler),
		AdmitTCP: admitAll, AdmitSocket: admitAll, Journal: report.Journal, Hooks: hooks, Collectors: report.Metrics.Collectors(),
	})
}

// handler answers as the TCP listener does.
func (r *rig) handler() http.Handler { return r.server().TCP() }

func TestStatusJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.3", 0)
		c := webapp("web", 7, 1, 2, 3)
		c.MaxWeight = 60
		r.boot(c)
		r.start("web")
		r.wait(10 * time.Second)
		r.table.SetFault(func(c ipvs.Call) error {
			if c.Operation == "put destination" {
				return errBusy
			}
			return nil
		})
		r.fleet.set("10.0.0.1", 0)
		r.wait(3 * time.Second)
		h := r.handler()
		for _, tt := range []struct{ path, file string }{{"/", "list.json"}, {"/cluster/web", "cluster.json"},
			{"/cluster/web/status", "cluster.json"}} {
			w := httptest.NewRecorder()
			req := httptest.NewRequest("GET", tt.path, nil)
			req.Header.Set("Accept", "application/json")
			h.ServeHTTP(w, req)
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

func TestAStopCompletesAfterItsClientDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		dial, end := r.serve()
		defer end()
		unblock := r.block()

		conn := dial()
		if _, err := io.WriteString(conn, "DELETE /cluster/web HTTP/1.1\r\nHost: lb\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the server has read the request and noticed the disconnect
		r.wantTable("7 wlc 10.0.0.1=92")
		unblock()
		r.wantTable("")
		r.wait(10 * time.Second)
		r.wantTable("")
	})
}

// serve serves the rig's engine over pipes.
func (r *rig) serve() (dial func() net.Conn, end func()) {
	conns, none := make(pipeListener), make(pipeListener)
	s := r.server()
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
			r.t.Error(err)
		}
	}
	return dial, end
}

// pipeListener accepts the connections that are sent to it.
type pipeListener chan net.Conn

func (p pipeListener) Accept() (net.Conn, error) {
	if conn, open := <-p; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipeListener) Close() error   { close(p); return nil }
func (p pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

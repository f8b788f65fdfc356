package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/hook"
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

func (b *bench) handler() handler {
	return handler{
		clusters: b.engine, drains: b.engine, version: "1.2.3", refusals: listen.NewRefusalLog(slog.New(slog.DiscardHandler)), admit: admitAll,
		events: b.engine.events, metrics: b.engine.metricsPage("1.2.3", func() int { return 0 }, func() map[string]hook.Counts { return map[string]hook.Counts{"page": {Delivered: 3, Lost: 1}} }), streams: make(chan struct{}, 2), serving: b.t.Context(),
	}
}

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

// serve serves the bench's handler to whoever dials.
func (b *bench) serve() (dial func() net.Conn, end func()) {
	conns := make(pipes)
	server := newServer(b.handler(), slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(conns) }()
	dial = func() net.Conn {
		near, far := net.Pipe()
		conns <- far
		return near
	}
	end = func() {
		if err := server.Shutdown(b.t.Context()); err != nil {
			b.t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
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

// fakeClusters has one cluster, web.
type fakeClusters struct{ started, stopped int }

func (f *fakeClusters) Status(context.Context) api.Status {
	return api.Status{Clusters: []api.ClusterStatus{{Name: "web", Nodes: []api.NodeStatus{{Address: "10.0.0.1"}}}}}
}

func (f *fakeClusters) Start(_ context.Context, name, _ string) (bool, error) {
	if name != "web" {
		return false, &api.NoClusterError{Name: name}
	}
	f.started++
	return true, nil
}

func (f *fakeClusters) Stop(_ context.Context, name, _ string) (bool, error) {
	if name != "web" {
		return false, &api.NoClusterError{Name: name}
	}
	f.stopped++
	return false, nil
}

func FuzzHandler(f *testing.F) {
	f.Add("GET", "/", "")
	f.Add("PUT", "/cluster/web", "application/json")
	f.Add("DELETE", "/cluster/%2e%2e", "")
	f.Add("GET", "/fwmark/7", "")
	f.Add("GET", "//cluster/a%2fb/status_detail", "x")
	f.Fuzz(func(t *testing.T, method, target, accept string) {
		r, err := http.NewRequest(method, "http://lb", http.NoBody)
		if err != nil {
			return // net/http lets no such method in
		}
		u, err := r.URL.Parse(target)
		if err != nil {
			return // net/http lets no such target in
		}
		r.URL = u
		r.Header.Set("Accept", accept)
		r.RemoteAddr = netip.AddrPortFrom(netip.IPv6Loopback(), 1).String()
		fake := &fakeClusters{}
		w := httptest.NewRecorder()
		handler{clusters: fake, refusals: listen.NewRefusalLog(slog.New(slog.DiscardHandler)), admit: admitAll}.ServeHTTP(w, r)
		switch {
		case fake.started > 0 && (method != "PUT" || w.Code != 200), fake.stopped > 0 && (method != "DELETE" || w.Code != 304):
			t.Errorf("%s %q: %d starts, %d stops, status %d", method, target, fake.started, fake.stopped, w.Code)
		case w.Code != 200 && w.Code != 304 && w.Code != 404:
			t.Errorf("%s %q: status %d", method, target, w.Code)
		case w.Code == 304 && w.Body.Len() > 0:
			t.Errorf("a 304 with a body: %q", w.Body)
		}
	})
}

package agent

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
)

// Figures: go test -run '^$' -bench . -benchmem ./agent

// fleetService is a typical service with four checks.
func fleetService(name string) config.Service {
	return config.Service{
		Name:    name,
		Depends: []config.Check{depends("script", map[string]any{"command": "true"}), depends("script", map[string]any{"command": ":"})},
		Metrics: []config.Check{constant(60), constant(25)},
	}
}

func BenchmarkStatusHandler(b *testing.B) {
	for _, accept := range []string{"text/plain", "application/json"} {
		b.Run(accept, func(b *testing.B) {
			agent := newBench(b, configIn(shortDir(b), fleetService("webapp")))
			h := agent.server.Handler(server.TCP)
			r := httptest.NewRequest("GET", "/webapp/status", nil)
			r.Header.Set("Accept", accept)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
			if w.status != 200 {
				b.Errorf("status %d", w.status)
			}
		})
	}
}

// discard is a response writer without cost.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkStatusConnection sends requests on one connection, and on a new connection each.
func BenchmarkStatusConnection(b *testing.B) {
	agent, _ := running(b, configIn(shortDir(b), fleetService("webapp")))
	request := []byte("GET /webapp/status HTTP/1.1\r\nHost: app01\r\n\r\n")
	ask := func(c net.Conn, r *bufio.Reader) {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
			b.Fatal(answer.Status, err)
		}
	}
	b.Run("kept", func(b *testing.B) {
		c := dial(b, agent)
		defer c.Close()
		r := bufio.NewReader(c)
		for b.Loop() {
			ask(c, r)
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			c := dial(b, agent)
			ask(c, bufio.NewReader(c))
			c.Close()
		}
	})
}

func dial(t testing.TB, agent *bench) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", agent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func BenchmarkScrape(b *testing.B) {
	for _, services := range []int{1, 50} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			var list []config.Service
			for i := range services {
				list = append(list, fleetService(fmt.Sprintf("web%02d", i)))
			}
			agent := newBench(b, configIn(shortDir(b), list...))
			h := agent.server.Handler(server.TCP)
			r := httptest.NewRequest("GET", "/metrics", nil)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo responds with the request: method, path, Accept header, body.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "%s %s %s %q", r.Method, r.URL.EscapedPath(), r.Header.Get("Accept"), b)
}

// serve runs handler on a new listener until the test ends and returns its address.
func serve(t *testing.T, network string, handler http.HandlerFunc) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	srv.Start()
	t.Cleanup(srv.Close)
	return l.Addr().String()
}

func TestDo(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			c, err := New(Agent(), serve(t, network, echo))
			if err != nil {
				t.Fatal(err)
			}
			tests := map[string]struct {
				request Request
				want    string
			}{
				"get":  {Request{Path: "/webapp/status"}, `GET /webapp/status  ""`},
				"json": {Request{Path: "/", JSON: true}, `GET / application/json ""`},
				"form": {
					Request{Method: "POST", Path: "/a%2Fb/down", Form: url.Values{"reason": {"a b"}}},
					`POST /a%2Fb/down  "reason=a+b"`,
				},
			}
			for name, tt := range tests {
				t.Run(name, func(t *testing.T) {
					a, err := c.Do(t.Context(), tt.request)
					if err != nil || a.Status != http.StatusTeapot || string(a.Body) != tt.want {
						t.Errorf("got %d %s, %v, want %s", a.Status, a.Body, err, tt.want)
					}
				})
			}
		})
	}
}

func TestAnUnreachableDaemonGivesTheFix(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	tests := map[string]struct{ address, want string }{
		"no socket": {
			dir + "/none.sock",
			"cannot reach lb agent at DIR/none.sock: no such file or directory; is it running? `systemctl start lb-agent`",
		},
		"stale socket": {stale, "cannot reach lb agent at DIR/stale.sock: connection refused; is it running? `systemctl start lb-agent`"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := New(Agent(), tt.address)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Do(t.Context(), Request{Path: "/"})
			if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestAHungDaemonTimesOut(t *testing.T) {
	address := serve(t, "unix", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c, err := New(Balancer(), address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Do(ctx, Request{Path: "/"})
	want := "cannot reach lb balance at " + address +
		": timed out; it is running but hangs: look at `journalctl -u lb-balance`, then `systemctl restart lb-balance`"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAnEndlessResponseIsCutOff(t *testing.T) {
	address := serve(t, "unix", func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 1<<20)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	c, err := New(Agent(), address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), Request{Path: "/"}); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("got %v", err)
	}
}

func TestInvalidAddressesAreRejected(t *testing.T) {
	for _, address := range []string{"", "localhost", "localhost:"} {
		if _, err := New(Agent(), address); err == nil {
			t.Errorf("%q is accepted", address)
		}
	}
}

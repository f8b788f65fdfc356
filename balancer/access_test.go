package balancer

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// TestASlowClientIsDisconnected tests the header timeout alone. Package listen tests the others.
func TestASlowClientIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7))
		dial, end := r.serve()
		defer end()
		conn, start := dial(), time.Now()
		if _, err := io.WriteString(conn, "PUT /cluster/web HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until it is closed
		if took := time.Since(start); took < 4*time.Second || took > 10*time.Second {
			t.Errorf("disconnected after %s", took)
		}
	})
}

func TestOversizedRequestsAreRejectedOnBothListeners(t *testing.T) {
	cfg := daemonConfig(t)
	b, _ := runDaemon(t, options(cfg))
	header := "GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("a", 2*listen.MaxHeader) + "\r\n\r\n"
	body := fmt.Sprintf("PUT /cluster/nope HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 8<<20,
		strings.Repeat("a", 2*listen.MaxBody))
	for _, tt := range []struct {
		name, network, address, request string
		status                          int
	}{
		{"header, TCP", "tcp", b.Addr().String(), header, 431},
		{"header, socket", "unix", cfg.Balancer.Control, header, 431},
		{"body, TCP", "tcp", b.Addr().String(), body, 403}, // without reading the body
		{"body, socket", "unix", cfg.Balancer.Control, body, 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial(tt.network, tt.address)
			if err != nil {
				t.Fatal(err)
			}
			wrote := make(chan struct{})
			go func() { defer close(wrote); _, _ = io.WriteString(conn, tt.request) }()
			if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != tt.status || !r.Close {
				t.Errorf("%+v, %v; want status %d and a closed connection", r, err, tt.status)
			}
			_ = conn.Close()
			<-wrote
		})
	}
}

func TestChangesOverTCPNeedTheToken(t *testing.T) {
	_, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	token := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := strings.Repeat("1", 40), strings.Repeat("2", 40)
	write(first)
	cfg.Balancer.TokenFile = token
	o, log, reload := options(cfg), &logs{}, make(chan struct{})
	o.Log, o.Reload = slog.New(slog.NewTextHandler(log, nil)), reload
	o.Load = func() (*config.Config, error) { return cfg, nil }
	b, _ := runDaemon(t, o)
	change := func(method, token string, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.Addr().String()+"/cluster/web", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want || want == 401 && !strings.Contains(string(text), "lb ctl cluster ") {
			t.Errorf("%s: %d %q, want %d", method, resp.StatusCode, text, want)
		}
	}
	change("PUT", "", 401)
	change("PUT", second, 401)
	change("PUT", first, 200)
	write("short")
	reload <- struct{}{}
	eventually(t, "the refusal", func() bool { return strings.Contains(log.String(), "at least 32 are required") })
	change("PUT", first, 304)
	write(second)
	reload <- struct{}{}
	eventually(t, "the reload", func() bool { return strings.Contains(log.String(), "configuration reloaded") })
	change("DELETE", first, 401)
	change("DELETE", second, 200)
	for _, want := range []string{"change refused", "cluster starts", "cluster stops", "with the token"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), first) || strings.Contains(log.String(), second) {
		t.Errorf("the log has a token:\n%s", log)
	}
}

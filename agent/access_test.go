package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// TestASlowClientIsCutOffOnBothListeners covers headers only: package listen tests the other timeouts.
func TestASlowClientIsCutOffOnBothListeners(t *testing.T) {
	for name, over := range map[string]server.Transport{"TCP": server.TCP, "socket": server.Socket} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, configIn(shortDir(t), config.Service{Name: "web", Metrics: []config.Check{constant(1)}}))
				conns, served := agenttest.NewPipes(), make(chan error, 1)
				s := b.server.HTTP(over)
				go func() { served <- s.Serve(b.guard.OptionalTLS(conns)) }()
				near, err := conns.Dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if _, err := io.WriteString(near, "GET /web/status HTTP/1.1\r\n"); err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, near) // until the server closes it
				if took := time.Since(begun); took < 4*time.Second || took > 10*time.Second {
					t.Errorf("cut off after %s", took)
				}
				s.Close()
				if err := <-served; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}

func TestAHugeRequestIsRefusedOnBothListeners(t *testing.T) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, webapp("true")))
	header := "GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("a", 2*listen.MaxHeader) + "\r\n\r\n"
	body := fmt.Sprintf("POST /webapp/down HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\n\r\nreason=%s", 8<<20, strings.Repeat("a", 2*listen.MaxBody))
	for _, tc := range []struct {
		name, network, address, request string
		status                          int
	}{
		{"header, TCP", "tcp", b.Addr().String(), header, 431},
		{"header, socket", "unix", filepath.Join(dir, "agent.sock"), header, 431},
		{"body, TCP", "tcp", b.Addr().String(), body, 403}, // before the body is read
		{"body, socket", "unix", filepath.Join(dir, "agent.sock"), body, 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial(tc.network, tc.address)
			if err != nil {
				t.Fatal(err)
			}
			wrote := make(chan struct{})
			go func() { defer close(wrote); io.WriteString(conn, tc.request) }()
			if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != tc.status || !r.Close {
				t.Errorf("%+v, %v, want %d and Connection: close", r, err, tc.status)
			}
			conn.Close()
			<-wrote
		})
	}
	if all := b.changes.Store.All(); len(all) != 0 {
		t.Errorf("stored %v", all)
	}
}

func TestAReloadWithAnUnusableTokenChangesNothing(t *testing.T) {
	dir := shortDir(t)
	token := filepath.Join(dir, "token")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := strings.Repeat("1", 40), strings.Repeat("2", 40)
	write(first)
	cfg := configIn(dir, webapp("true"))
	cfg.Agent.TokenFile = token
	b, _ := running(t, cfg)
	admitted := func(token string, want int) {
		t.Helper()
		if r := b.do(server.TCP, "POST", "/webapp/up", "reason=x", "Authorization", "Bearer "+token); r.StatusCode != want {
			t.Errorf("token %.1s…: %d, want %d", token, r.StatusCode, want)
		}
	}
	admitted(first, 201)
	admitted(second, 401)
	write("short")
	other := configIn(dir, webapp("true"), config.Service{Name: "new", Metrics: []config.Check{constant(1)}})
	other.Agent.TokenFile, other.Agent.ControlGroup = token, "0"
	b.configure(other, nil)
	b.reload <- struct{}{}
	eventually(t, "the reload is refused", func() bool { return b.log.Count("reload refused", "agent.token_file", "at least 32") == 1 })
	admitted(first, 201)
	if r := b.do(server.TCP, "GET", "/new/status", ""); r.StatusCode != 404 {
		t.Errorf("the rest of the configuration is in effect: %d", r.StatusCode)
	}
	write(second)
	b.reload <- struct{}{}
	eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded") == 1 })
	admitted(first, 401)
	admitted(second, 201)
	if b.log.Count("takes effect after a restart", "agent.control_group") != 1 ||
		b.log.Count("change refused", "peer=192.0.2.1:1234", "token is wrong") != 2 ||
		b.log.Count("msg=forced", "with the token") != 3 {
		t.Errorf("log:\n%s", b.log)
	}
}

func TestAWorldWritableDataDirIsReported(t *testing.T) {
	for mode, want := range map[os.FileMode]int{0o750: 0, 0o770: 0, 0o777: 1, 0o777 | os.ModeSticky: 1} {
		cfg := configIn(shortDir(t), webapp("true"))
		if err := os.MkdirAll(cfg.Agent.DataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(cfg.Agent.DataDir, mode); err != nil {
			t.Fatal(err)
		}
		b, _ := running(t, cfg)
		if n := b.log.Count("agent.data_dir is world-writable", "data_dir="+cfg.Agent.DataDir); n != want {
			t.Errorf("mode %s: %d warnings, want %d:\n%s", mode, n, want, b.log)
		}
	}
}

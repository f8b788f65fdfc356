//go:build lab

package check

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startHAProxy runs a real HAProxy and returns the path of its stats socket. Its backend web has a server
// that is up (weight 30), one that is down (10) and one in maintenance (60).
func startHAProxy(t *testing.T) string {
	t.Helper()
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	dir := t.TempDir()
	socket := filepath.Join(dir, "stats.sock")
	conf := fmt.Sprintf(`global
  stats socket %s level admin
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
backend web
  server up %s check inter 50ms fall 1 rise 1 weight 30
  server down 127.0.0.1:1 check inter 50ms fall 1 rise 1 weight 10
  server away 127.0.0.1:1 disabled weight 60
backend gone
  server down 127.0.0.1:1 check inter 50ms fall 1 rise 1
`, socket, app.Addr())
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	cmd := exec.Command("haproxy", "-q", "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatalf("start HAProxy (apt-get install haproxy): %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy printed: %s", output.String())
		}
	})
	return socket
}

// eventually runs a check until its detail contains the reason.
func eventually(t *testing.T, c Check, reason string) Result {
	t.Helper()
	var r Result
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if r = c.Run(t.Context()); strings.Contains(r.Detail, reason) {
			return r
		}
	}
	t.Fatalf("timed out waiting for %q: %+v", reason, r)
	return r
}

// send sends HAProxy a command.
func send(t *testing.T, socket, command string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, command); err != nil {
		t.Fatal(err)
	}
	if answer, err := readUntil(conn, []byte("\n"), 1000); err != nil || string(answer) != "\n" {
		t.Fatalf("HAProxy answered %q to %q: %v", answer, command, err)
	}
}

func TestARealHAProxy(t *testing.T) {
	socket := startHAProxy(t)
	of := func(backends ...string) map[string]any { return map[string]any{"socket": socket, "backends": backends} }
	web := build(t, dependency("haproxy_backends", of("web")), Host{})
	health := build(t, metric("haproxy_backends_health", 100, of("web")), Host{})

	// HAProxy treats all servers as up until their first check.
	if r := eventually(t, health, "weight 30 of 40 is UP"); r.Value != 75 {
		t.Errorf("%+v", r)
	}
	want(t, web.Run(t.Context()), true, "UP: web")
	if r := eventually(t, build(t, dependency("haproxy_backends", of("web", "gone")), Host{}), "gone is DOWN"); r.OK {
		t.Errorf("%+v", r)
	}
	want(t, run(t, dependency("haproxy_backends", of("nope")), Host{}), false, "HAProxy has no backend nope")

	send(t, socket, "set server web/down state maint")
	if r := eventually(t, health, "weight 30 of 30 is UP"); r.Value != 100 {
		t.Errorf("%+v", r)
	}
	send(t, socket, "set server web/up state drain")
	if r := eventually(t, health, "no server with a weight is in use"); r.Value != 0 {
		t.Errorf("%+v", r)
	}
	want(t, web.Run(t.Context()), false, "web is DOWN")
	send(t, socket, "set server web/up state ready")
	eventually(t, web, "UP: web")
}

//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a server may take until it answers.
const startTimeout = 20 * time.Second

// target is a server to measure. A single process does all its work.
type target struct {
	name    string
	pid     int
	url     string
	address string
	stop    func() // idempotent

	kept, fresh []load
}

// launch starts a server on its core and waits until it answers.
func launch(t *testing.T, name, page string, command ...string) *target {
	t.Helper()
	var output bytes.Buffer
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(serveCore)}, command...)...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &target{name: name, pid: cmd.Process.Pid, url: page, stop: sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, output.String())
		}
	})}
	t.Cleanup(s.stop)
	u, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	s.address = u.Host
	for end := time.Now().Add(startTimeout); ; <-time.After(50 * time.Millisecond) {
		r, err := http.Get(page)
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not answer at %s: %v", name, page, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	return s
}

// freePort is an unused address on loopback.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fileCheck is a dependency on a small file.
func fileCheck(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte("OK\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{ type = "file_contents", path = %q, pattern = "^OK" }`, path)
}

// startAgent starts the program in LB_BENCH_BIN, with a dependency and three metrics in each service.
func startAgent(t *testing.T, services int, dependency string) *target {
	t.Helper()
	program := os.Getenv("LB_BENCH_BIN")
	if program == "" {
		t.Fatal("LB_BENCH_BIN is not set: run scripts/bench agent")
	}
	dir, err := os.MkdirTemp("", "lb") // short enough for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := freePort(t)
	var b strings.Builder
	fmt.Fprintf(&b, "[agent]\nlisten = %q\ncontrol = %q\ndata_dir = %q\n", address, filepath.Join(dir, "agent.sock"),
		filepath.Join(dir, "data"))
	everySecond := func(check string) string {
		return strings.TrimSuffix(check, " }") + `, interval = "1s", timeout = "900ms" }`
	}
	for i := range services {
		fmt.Fprintf(&b, "[services.web%02d]\ndepends = [ %s ]\nmetrics = [ %s, %s, %s ]\n", i, everySecond(dependency),
			everySecond(`{ type = "constant", weight = 20 }`), everySecond(`{ type = "cpu_load", weight = 40 }`),
			everySecond(`{ type = "available_memory", weight = 40 }`))
	}
	config := filepath.Join(dir, "lb.toml")
	if err := os.WriteFile(config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return launch(t, "lb agent", "http://"+address+"/web00/status", program, "agent", "-c", config)
}

// startNginx starts an nginx that serves a file, with Debian's settings but as a single process, without an
// access log, and without a limit on requests per connection.
func startNginx(t *testing.T, content []byte) *target {
	t.Helper()
	dir := t.TempDir()
	address := freePort(t)
	// Its process drops root before it reads the file.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/errors;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type text/plain;
  server { listen %[2]s; location / { root %[1]s; } }
}
`, dir, address)
	for name, data := range map[string][]byte{"status": content, "nginx.conf": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return launch(t, "nginx", "http://"+address+"/status", "nginx", "-c", filepath.Join(dir, "nginx.conf"))
}

// extraTargets is a further server that is already running: LB_BENCH_BESIDE="NAME PID URL".
func extraTargets(t *testing.T) []*target {
	t.Helper()
	fields := strings.Fields(os.Getenv("LB_BENCH_BESIDE"))
	if len(fields) == 0 {
		return nil
	}
	if len(fields) != 3 {
		t.Fatal("LB_BENCH_BESIDE must be NAME PID URL")
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatalf("LB_BENCH_BESIDE: %v", err)
	}
	return []*target{{name: fields[0], pid: pid, url: fields[2]}}
}

// get requests the page once.
func (s *target) get(t *testing.T) []byte {
	t.Helper()
	r, err := http.Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", s.url, r.Status, err, body)
	}
	return body
}

// saturate measures the server under maximum load by wrk.
func (s *target) saturate(t *testing.T, header string) load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wrkTime+startTimeout)
	defer cancel()
	before := s.cpuTime(t)
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(clients), "-d"+strconv.Itoa(int(wrkTime.Seconds()))+"s",
		"-H", header, s.url).CombinedOutput()
	after := s.cpuTime(t)
	if err != nil {
		t.Fatalf("wrk: %v: %s", err, out)
	}
	l, err := parseWrk(string(out))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.processor = after.own - before.own
	return l
}

// parseWrk reads "N requests in …" and "Requests/sec: X". It refuses measurements with failed requests, but
// not with timeouts, which occur on a busy machine.
func parseWrk(out string) (l load, err error) {
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 3 && fields[1] == "requests" && fields[2] == "in":
			l.requests, err = strconv.Atoi(fields[0])
		case len(fields) == 2 && fields[0] == "Requests/sec:":
			l.perSecond, err = strconv.ParseFloat(fields[1], 64)
		case strings.Contains(lines.Text(), "Non-2xx"):
			err = errors.New("wrk received responses other than 200")
		}
		if err != nil {
			return load{}, err
		}
	}
	if l.requests == 0 || l.perSecond == 0 {
		return load{}, errors.New("wrk printed no figures")
	}
	return l, nil
}

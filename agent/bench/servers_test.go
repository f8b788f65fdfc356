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

// startTime is how long a server may take until it answers.
const startTime = 20 * time.Second

// target is a server under measurement; one process of it does all the work.
type target struct {
	name    string
	pid     int
	url     string
	address string
	stop    func() // does nothing the second time

	kept, fresh []load
}

// launch starts a server on its core, and waits until it answers.
func launch(t *testing.T, name, page string, command ...string) *target {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(serveCore)}, command...)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &target{name: name, pid: cmd.Process.Pid, url: page, stop: sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, said.String())
		}
	})}
	t.Cleanup(s.stop)
	u, err := url.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	s.address = u.Host
	for end := time.Now().Add(startTime); ; <-time.After(50 * time.Millisecond) {
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

// freePort gives an address on loopback that nobody has now.
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

// startAgent starts the program that LB_BENCH_BIN names, with a dependency and three metrics for each of the services.
func startAgent(t *testing.T, services int, dependency string) *target {
	t.Helper()
	program := os.Getenv("LB_BENCH_BIN")
	if program == "" {
		t.Fatal("LB_BENCH_BIN names no program: run scripts/bench agent")
	}
	dir, err := os.MkdirTemp("", "lb") // short: the path of a socket has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := freePort(t)
	var b strings.Builder
	fmt.Fprintf(&b, "[agent]\nlisten = %q\ncontrol = %q\ndata_dir = %q\n", address, filepath.Join(dir, "agent.sock"), filepath.Join(dir, "data"))
	paced := func(check string) string {
		return strings.TrimSuffix(check, " }") + `, interval = "1s", timeout = "900ms" }`
	}
	for i := range services {
		fmt.Fprintf(&b, "[services.web%02d]\ndepends = [ %s ]\nmetrics = [ %s, %s, %s ]\n", i, paced(dependency),
			paced(`{ type = "constant", weight = 20 }`), paced(`{ type = "cpu_load", weight = 40 }`), paced(`{ type = "available_memory", weight = 40 }`))
	}
	config := filepath.Join(dir, "lb.toml")
	if err := os.WriteFile(config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return launch(t, "lb agent", "http://"+address+"/web00/status", program, "agent", "-c", config)
}

// startNginx starts one that serves a file: as Debian sets it up, in one process, without a log of requests and a bound on those
// of one connection.
func startNginx(t *testing.T, content []byte) *target {
	t.Helper()
	dir := t.TempDir()
	address := freePort(t)
	// Its process gives up root before it reads the file.
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

// beside is a further server, which runs already: LB_BENCH_BESIDE="NAME PID URL".
func beside(t *testing.T) []*target {
	t.Helper()
	asked := strings.Fields(os.Getenv("LB_BENCH_BESIDE"))
	if len(asked) == 0 {
		return nil
	}
	if len(asked) != 3 {
		t.Fatal("LB_BENCH_BESIDE wants NAME PID URL")
	}
	pid, err := strconv.Atoi(asked[1])
	if err != nil {
		t.Fatalf("LB_BENCH_BESIDE: %v", err)
	}
	return []*target{{name: asked[0], pid: pid, url: asked[2]}}
}

// get reads the page once.
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

// hit lets wrk ask as fast as it can.
func (s *target) hit(t *testing.T, header string) load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wrkTime+startTime)
	defer cancel()
	before := s.used(t)
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(clients), "-d"+strconv.Itoa(int(wrkTime.Seconds()))+"s", "-H", header, s.url).CombinedOutput()
	after := s.used(t)
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

// parseWrk reads "N requests in …" and "Requests/sec: X". Answers that are no success make the measurement worthless; timeouts
// happen on a machine that is busy otherwise.
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
			err = errors.New("wrk got other answers than 200")
		}
		if err != nil {
			return load{}, err
		}
	}
	if l.requests == 0 || l.perSecond == 0 {
		return load{}, errors.New("wrk tells no figures")
	}
	return l, nil
}

package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/server"

	"go.uber.org/goleak"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("AGENT_TEST_DIR"); dir != "" {
		runAsProcess(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long tests wait for events that are immediate on an idle machine.
const patience = 30 * time.Second

// shortDir is a temporary folder with a path short enough for a Unix socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func depends(typ string, options map[string]any) config.Check {
	return config.Check{Role: config.Dependency, Type: typ, Interval: time.Hour, Timeout: 10 * time.Second,
		Options: config.NewOptions(options)}
}

func metric(typ string, weight int, options map[string]any) config.Check {
	return config.Check{Role: config.Metric, Type: typ, Interval: time.Hour, Timeout: 10 * time.Second, Weight: weight,
		Options: config.NewOptions(options)}
}

func constant(weight int) config.Check { return metric("constant", weight, nil) }

// configIn makes a configuration with all its files in dir.
func configIn(dir string, services ...config.Service) *config.Config {
	return &config.Config{
		Agent: config.Agent{
			Listen:  "127.0.0.1:0",
			Control: filepath.Join(dir, "agent.sock"),
			DataDir: filepath.Join(dir, "data"),
		},
		Services: services,
	}
}

// webapp is the service of the recorded transcripts, with a script instead of their file as dependency.
func webapp(dependency string) config.Service {
	return config.Service{
		Name:    "webapp",
		Depends: []config.Check{depends("script", map[string]any{"command": dependency})},
		Metrics: []config.Check{constant(60), constant(25)},
	}
}

// bench is an agent under test with its configuration and its log.
type bench struct {
	*Agent
	log    *agenttest.Log
	reload chan struct{}

	mu  sync.Mutex // protects cfg and err
	cfg *config.Config
	err error
}

// configure sets the result of the next load.
func (b *bench) configure(cfg *config.Config, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg, b.err = cfg, err
}

func (b *bench) load() (*config.Config, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg, b.err
}

func (b *bench) options() Options {
	return Options{Load: b.load, Reload: b.reload, Log: b.log.Logger(), Version: "1.2.3", Hostname: "app01"}
}

// newBench makes an agent that does not serve but has the first results of all checks, for tests that call
// its handlers.
func newBench(t testing.TB, cfg *config.Config) *bench {
	t.Helper()
	b := &bench{log: &agenttest.Log{}, reload: make(chan struct{}, 1), cfg: cfg}
	a, err := New(t.Context(), b.options())
	if err != nil {
		t.Fatal(err)
	}
	b.Agent = a
	ctx, cancel := context.WithCancel(context.Background())
	a.jobs.Start(ctx, a.services.Current().Jobs())
	schedule.WaitForResults(ctx, patience, a.services.Current().Jobs())
	t.Cleanup(func() {
		cancel()
		a.jobs.Stop(a.services.Current().Jobs())
		if err := a.closeListeners(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// running makes an agent that serves until the test ends or stop is called.
func running(t testing.TB, cfg *config.Config) (b *bench, stop func() error) {
	t.Helper()
	return runningWith(t, cfg, func(*Options) {})
}

// runningWith is running with the test's own options.
func runningWith(t testing.TB, cfg *config.Config, set func(*Options)) (b *bench, stop func() error) {
	t.Helper()
	b = &bench{log: &agenttest.Log{}, reload: make(chan struct{}, 1), cfg: cfg}
	ready := make(chan struct{})
	o := b.options()
	o.Ready = func() { close(ready) }
	set(&o)
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b.Agent = a
	a.resultsTimeout = patience
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("Run ended: %v", err)
	}
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return b, stop
}

// asRoot makes root the sender of a request over the socket.
func asRoot(r *http.Request, over server.Transport) *http.Request {
	if over != server.Socket {
		return r
	}
	return r.WithContext(listen.WithPeerCredentials(r.Context(), listen.PeerCredentials{UID: 0, PID: 42}))
}

// do sends a request to a handler of the agent and returns the response.
func (b *bench) do(over server.Transport, method, target, body string, header ...string) *http.Response {
	r := asRoot(httptest.NewRequest(method, target, strings.NewReader(body)), over)
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.server.Handler(over).ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// client sends requests over the control socket.
func client(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-timeout.C:
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

func TestTheAgentServesReadsOverTCPAndChangesOverItsSocket(t *testing.T) {
	dir := shortDir(t)
	b, stop := running(t, configIn(dir, webapp("true")))
	url := "http://" + b.Addr().String()
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

	get := func(c *http.Client, url string) (int, string) {
		t.Helper()
		r, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, bodyOf(t, r)
	}
	if code, body := get(plain, url+"/webapp/status"); code != 200 || !strings.HasPrefix(body, "Health: 85\n") {
		t.Errorf("over TCP: %d %q", code, body)
	}
	code, body := get(client(filepath.Join(dir, "agent.sock")), "http://agent/webapp/status")
	if code != 200 || !strings.HasPrefix(body, "Health: 85\n") {
		t.Errorf("over the socket: %d %q", code, body)
	}
	r, err := plain.PostForm(url+"/webapp/down", map[string][]string{"reason": {"x"}})
	if err != nil {
		t.Fatal(err)
	}
	if body := bodyOf(t, r); r.StatusCode != 403 || !strings.Contains(body, "lb ctl force") ||
		!strings.Contains(body, "agent.trust_loopback") || !strings.Contains(body, dir) {
		t.Errorf("change over TCP: %d %q", r.StatusCode, body)
	}
	r, err = client(filepath.Join(dir, "agent.sock")).PostForm("http://agent/webapp/down", map[string][]string{"reason": {"apt upgrades"}})
	if err != nil {
		t.Fatal(err)
	}
	if body := bodyOf(t, r); r.StatusCode != 201 || body != "File created" {
		t.Errorf("change over the socket: %d %q", r.StatusCode, body)
	}
	code, body = get(plain, url+"/webapp/status")
	if code != 503 || !strings.HasPrefix(body, "Health: 0\nMeasured Health: 85\nForced Reason: apt upgrades\n") {
		t.Errorf("forced down: %d %q", code, body)
	}
	if n := b.log.Count("msg=forced", "service=webapp", "kind=down", `reason="apt upgrades"`, "uid "); n != 1 {
		t.Errorf("%d log lines about the force, want 1:\n%s", n, b.log)
	}
	info, err := os.Stat(filepath.Join(dir, "agent.sock"))
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket's mode: %v, %v", info.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "agent.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestAFailedStartHasAClearErrorAndLeavesNothingBound(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	file := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		spec func(c *config.Config)
		want []string
	}{
		{"port in use", func(c *config.Config) { c.Agent.Listen = taken.Addr().String() },
			[]string{taken.Addr().String(), "in use", "sport = :" + port, "agent.listen"}},
		{"an address of another machine", func(c *config.Config) { c.Agent.Listen = "192.0.2.1:9293" },
			[]string{"192.0.2.1:9293", "does not have that address", "agent.listen"}},
		{"a file in the socket's place", func(c *config.Config) { c.Agent.Control = file },
			[]string{file, "not a socket", "agent.control"}},
		{"a socket's path too long", func(c *config.Config) { c.Agent.Control = "/tmp/" + strings.Repeat("x", 200) },
			[]string{"107 bytes", "agent.control"}},
		{"an impossible data_dir", func(c *config.Config) { c.Agent.DataDir = file + "/x" }, []string{file, "agent.data_dir"}},
		{"unknown check", func(c *config.Config) {
			c.Services = []config.Service{{Name: "web", Metrics: []config.Check{metric("nope", 1, nil)}}}
		}, []string{"service web", "is not a metric type"}},
		{"an impossible tunnel", func(c *config.Config) { c.Agent.Tunnel.Enabled = true }, []string{"agent.tunnel"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := shortDir(t)
			cfg := configIn(dir, webapp("true"))
			tc.spec(cfg)
			b := &bench{log: &agenttest.Log{}, cfg: cfg}
			_, err := New(t.Context(), b.options())
			if err == nil {
				t.Fatal("New succeeded")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "agent.sock")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a socket is left behind: %v", err)
			}
		})
	}
	t.Run("an invalid configuration", func(t *testing.T) {
		want := errors.New("lb.toml:3: nonsense")
		b := &bench{log: &agenttest.Log{}, err: want}
		if _, err := New(t.Context(), b.options()); !errors.Is(err, want) {
			t.Errorf("New = %v, want %v", err, want)
		}
	})
}

func TestASecondAgentIsRefusedAndAStaleSocketIsReplaced(t *testing.T) {
	dir := shortDir(t)
	b, stop := running(t, configIn(dir, webapp("true")))
	second := &bench{log: &agenttest.Log{}, cfg: b.cfg}
	if _, err := New(t.Context(), second.options()); err == nil || !strings.Contains(err.Error(), "another agent is running") {
		t.Errorf("New = %v, want an error about another agent", err)
	}
	if _, err := net.Dial("unix", filepath.Join(dir, "agent.sock")); err != nil {
		t.Errorf("the first agent's socket is gone: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Stat(filepath.Join(dir, "agent.sock")); err != nil {
		t.Fatalf("no stale socket to test with: %v", err)
	}
	running(t, configIn(dir, webapp("true")))
}

func TestTheFirstAnswerWaitsForTheFirstResults(t *testing.T) {
	// Until the dependency has its first result, no answer may report the service as down.
	b, _ := running(t, configIn(shortDir(t), webapp("sleep 0.2")))
	r := b.do(server.TCP, "GET", "/webapp/status", "")
	if body := bodyOf(t, r); r.StatusCode != 200 {
		t.Errorf("first answer: %d %q", r.StatusCode, body)
	}
	if n := b.log.Count("service is down"); n != 0 {
		t.Errorf("the log reports it as down:\n%s", b.log)
	}
}

func TestTheAgentMeasuresThisMachine(t *testing.T) {
	metrics := []config.Check{metric("cpu_load", 50, nil), metric("available_memory", 50, nil)}
	b := newBench(t, configIn(shortDir(t), config.Service{Name: "web", Metrics: metrics}))
	r := b.do(server.TCP, "GET", "/web/status", "")
	if body := bodyOf(t, r); r.StatusCode != 200 || !strings.Contains(body, "\nMetric::CPULoad(50): ") ||
		!strings.Contains(body, "\nMetric::AvailableMemory(50): ") {
		t.Errorf("%d %q", r.StatusCode, body)
	}
	body := bodyOf(t, b.do(server.TCP, "GET", "/web/metrics", ""))
	if !strings.HasPrefix(body, `cpu_load_average{service="web"} `) || strings.Count(body, "\n") != 1 {
		t.Errorf("metrics: %q", body)
	}
	var zero check.Host
	if b.opts.Host != zero {
		t.Error("the test must measure this machine")
	}
}

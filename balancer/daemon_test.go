package balancer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// fakeAgent serves an agent on loopback. It returns the agent's health, which tests set, and its node.
func fakeAgent(t *testing.T) (*atomic.Int64, config.Node) {
	t.Helper()
	health := &atomic.Int64{}
	health.Store(92)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Health", fmt.Sprint(health.Load()))
	}))
	t.Cleanup(s.Close)
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	return health, config.Node{Address: at.Addr(), Port: at.Port(), Path: "/web/status"}
}

// daemonConfig is a daemon's configuration with one cluster, web, of these nodes, and with sockets and a data_dir of its own.
func daemonConfig(t testing.TB, nodes ...config.Node) *config.Config {
	t.Helper()
	c := webapp("web", 7)
	c.Nodes, c.CheckInterval, c.CheckTimeout = nodes, 20*time.Millisecond, 15*time.Millisecond
	c.Fall = 1000 // a slow machine may miss some of these timeouts
	return &config.Config{
		Balancer: config.Balancer{
			Listen: "127.0.0.1:0", Control: filepath.Join(t.TempDir(), "run", "b.sock"), DataDir: filepath.Join(t.TempDir(), "data"),
		},
		Clusters: []config.Cluster{c},
	}
}

func options(cfg *config.Config) Options {
	return Options{
		Load: func() (*config.Config, error) { return cfg, nil }, Table: ipvs.NewMemory(), Marks: mark.NewMemory(),
		Log: slog.New(slog.DiscardHandler), Version: "1.2.3",
	}
}

// runDaemon runs a balancer until the test ends or stop is called.
func runDaemon(t testing.TB, o Options) (b *Balancer, stop func()) {
	t.Helper()
	b, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return b, stop
}

// request sends a request over TCP or, if its path is given, over the control socket.
func request(t *testing.T, b *Balancer, socket, method, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, socket, req)
}

// send does the same with an existing request.
func send(t *testing.T, socket string, req *http.Request) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// eventually waits until a condition holds, for up to 30 s.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not seen within 30 s: %s", what)
		}
	}
}

func TestDaemonLifecycle(t *testing.T) {
	health, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	o := options(cfg)
	reload := make(chan struct{})
	log := &logs{}
	var broken atomic.Bool
	o.Reload, o.Log = reload, slog.New(slog.NewTextHandler(log, nil))
	o.Load = func() (*config.Config, error) {
		if broken.Load() {
			return nil, fmt.Errorf("load: %w", config.Diagnostics{
				{File: "lb.toml", Line: 3, Problem: "first problem"}, {File: "lb.toml", Line: 9, Problem: "second problem"},
			})
		}
		return cfg, nil
	}
	b, stop := runDaemon(t, o)
	socket := cfg.Balancer.Control

	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("control socket: %v, %v; want mode 0660", info, err)
	}
	if status, body := request(t, b, "", "PUT", "/cluster/web"); status != 403 || !strings.Contains(body, socket) {
		t.Errorf("start over TCP: %d %q; want 403 and the socket's path", status, body)
	}
	if status, body := request(t, b, socket, "PUT", "/cluster/web"); status != 200 || body != "OK" {
		t.Errorf("start: %d %q", status, body)
	}
	if !strings.Contains(log.String(), fmt.Sprintf("uid %d (pid %d)", os.Getuid(), os.Getpid())) {
		t.Errorf("the log does not name the user who started the cluster:\n%s", log)
	}
	eventually(t, "weight 92", func() bool {
		_, body := request(t, b, "", "GET", "/cluster/web")
		return body == "Running: true\nCombinedWeight: 92\n"
	})
	health.Store(50)
	eventually(t, "weight 50", func() bool {
		_, body := request(t, b, "", "GET", "/cluster/web")
		return body == "Running: true\nCombinedWeight: 50\n"
	})
	reload <- struct{}{}
	eventually(t, "the reload", func() bool { return strings.Contains(log.String(), "configuration reloaded") })
	broken.Store(true)
	reload <- struct{}{}
	eventually(t, "both diagnostics", func() bool {
		return strings.Contains(log.String(), "lb.toml:3: first problem") && strings.Contains(log.String(), "lb.toml:9: second problem")
	})
	before, _ := o.Table.Dump(t.Context())
	stop()
	if after, _ := o.Table.Dump(t.Context()); len(after) != 1 || len(after[0].Destinations) != 1 ||
		after[0].Destinations[0].Weight != before[0].Destinations[0].Weight {
		t.Errorf("stopping the daemon changed the kernel from %v to %v", before, after)
	}
	if rules, _ := o.Marks.List(t.Context()); len(rules) != 1 {
		t.Errorf("after the stop the marking rules are %v", rules)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket still exists: %v", err)
	}
}

func TestReadyIsCalledOnceAutostartedClustersAreInTheKernel(t *testing.T) {
	_, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	cfg.Clusters[0].Autostart = true
	o := options(cfg)
	ready := make(chan string, 1)
	o.Ready = func() {
		services, err := o.Table.Dump(context.Background())
		ready <- fmt.Sprint(len(services), err)
	}
	runDaemon(t, o)
	if got := <-ready; got != "1 <nil>" {
		t.Errorf("at Ready the kernel has %s services", got)
	}
}

func TestNewExplainsErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name   string
		change func(t *testing.T, o *Options, cfg *config.Config)
		want   []string
	}{
		{"broken config", func(_ *testing.T, o *Options, _ *config.Config) {
			o.Load = func() (*config.Config, error) { return nil, errors.New("lb.toml:3: no") }
		}, []string{"lb.toml:3: no"}},
		{"port in use", func(_ *testing.T, _ *Options, cfg *config.Config) { cfg.Balancer.Listen = taken.Addr().String() },
			[]string{taken.Addr().String(), "balancer.listen", "ss -ltnp"}},
		{"address of no interface", func(_ *testing.T, _ *Options, cfg *config.Config) { cfg.Balancer.Listen = "192.0.2.1:9292" },
			[]string{"192.0.2.1:9292", "balancer.listen", "ip address"}},
		{"control is a file", func(t *testing.T, _ *Options, cfg *config.Config) {
			cfg.Balancer.Control = filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(cfg.Balancer.Control, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"balancer.control", "not a socket"}},
		{"another balancer", func(t *testing.T, _ *Options, cfg *config.Config) { runDaemon(t, options(cfg)) },
			[]string{"another lb balance is running", "balancer.control"}},
		{"no table", func(_ *testing.T, o *Options, _ *config.Config) {
			table := ipvs.NewMemory()
			table.SetFault(func(ipvs.Call) error { return errBusy })
			o.Table = table
		}, []string{"load-balancing table", "busy"}},
		{"no marks", func(_ *testing.T, o *Options, _ *config.Config) {
			marks := mark.NewMemory()
			marks.SetFault(func(string) error { return errBusy })
			o.Marks = marks
		}, []string{"marking rules", "busy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := daemonConfig(t)
			o := options(cfg)
			tt.change(t, &o, cfg)
			_, err := New(t.Context(), o)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v: does not contain %q", err, w)
				}
			}
		})
	}
}

func TestAStaleControlSocketIsReplaced(t *testing.T) {
	cfg := daemonConfig(t)
	if err := os.MkdirAll(filepath.Dir(cfg.Balancer.Control), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", cfg.Balancer.Control)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	_ = l.Close()
	b, _ := runDaemon(t, options(cfg))
	if status, _ := request(t, b, cfg.Balancer.Control, "GET", "/"); status != 200 {
		t.Errorf("GET / over the new socket: %d", status)
	}
}

func TestDryRunPrintsThePlanAndChangesNothing(t *testing.T) {
	health, node := fakeAgent(t)
	health.Store(100)
	gone := node
	gone.Address = addr("127.9.9.9")
	auto, adopted, stopped := daemonConfig(t, node, gone).Clusters[0], webapp("adopted", 8), webapp("stopped", 9)
	auto.Autostart = true
	adopted.Nodes, stopped.Nodes = []config.Node{node}, []config.Node{node}
	cfg := &config.Config{Clusters: []config.Cluster{adopted, stopped, auto}}
	for i := range cfg.Clusters {
		cfg.Clusters[i].CheckTimeout = 10 * time.Second
	}
	o := options(cfg)
	table, marks := ipvs.NewMemory(), mark.NewMemory()
	o.Table, o.Marks = table, marks
	table.Seed(
		ipvs.Service{Key: ipvs.Key{Mark: 8, Family: ipvs.IPv4}, Scheduler: "wlc", Destinations: []ipvs.Destination{
			{Address: node.Address, Forwarding: ipvs.Tunnel, Weight: 17}, {Address: addr("10.0.0.9"), Forwarding: ipvs.Tunnel, Weight: 3},
		}},
		ipvs.Service{Key: ipvs.Key{Mark: 99, Family: ipvs.IPv4}, Scheduler: "rr"},
	)
	if err := marks.Set(t.Context(), []mark.Rule{{Address: addr("204.109.13.7"), Protocol: "tcp", Port: 80, Mark: 8}}); err != nil {
		t.Fatal(err)
	}
	writes := marks.Writes()
	var out bytes.Buffer
	if err := DryRun(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	want := `mark 7: add service, scheduler wlc
mark 7: add node 127.0.0.1 weight 100, tunnel
mark 7: add node 127.9.9.9 weight 0, tunnel
mark 8: node 127.0.0.1 weight 17 → 100
mark 8: node 10.0.0.9 weight 3 → 0
mark 7: add tcp 204.109.13.7:7 on eth10
mark 8: add tcp 204.109.13.7:8 on eth10
mark 8: remove tcp 204.109.13.7:80
mark 9: add tcp 204.109.13.7:9 on eth10
cluster stopped stays stopped: the kernel has no mark 9 and autostart is off; ` + "`lb ctl cluster start stopped`" + ` would do:
  mark 9: add service, scheduler wlc
  mark 9: add node 127.0.0.1 weight 100, tunnel
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	for _, c := range table.Calls() {
		if c.Operation != "dump" && c.Operation != "list daemons" && c.Operation != "read timeouts" {
			t.Errorf("the dry run called: %v", c)
		}
	}
	if n := marks.Writes(); n != writes {
		t.Errorf("the dry run wrote marking rules")
	}
}

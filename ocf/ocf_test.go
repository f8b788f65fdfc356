package ocf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/ipvs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const webConfig = `[clusters.webapp]
fwmark = 7
vips   = [ { address = "204.109.13.7", ports = [443] } ]
nodes  = [ { address = "10.0.0.1" }, { address = "10.0.0.2" } ]
[clusters.mail]
fwmark = 8
vips   = [ { address = "204.109.13.8", ports = [25] } ]
nodes  = [ { address = "10.0.0.3" } ]
`

// sharedTable survives Close, as the kernel's table does when a process closes its handle.
type sharedTable struct{ *ipvs.Memory }

func (sharedTable) Close() error { return nil }

// fakeDaemon stands in for lb balance. Like the real one, it changes the table a little later than it answers.
type fakeDaemon struct {
	table *ipvs.Memory

	mu      sync.Mutex // protects the fields below
	running bool
	unknown bool // it does not have the cluster
	lazy    bool // it accepts changes and ignores them
	hung    bool
	delay   int // requests until the node's first reading
	health  int
	relay   uint32 // mark of the cluster's relay; 0: none
}

func (b *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	hung := b.hung
	b.mu.Unlock()
	if hung {
		<-r.Context().Done()
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unknown || r.URL.Path != "/cluster/webapp" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	ctx, key := r.Context(), ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	switch want := r.Method == http.MethodPut; {
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(b.state(r))
	case want == b.running:
		w.WriteHeader(http.StatusNotModified)
	case b.lazy:
	case want:
		b.running = true
		_ = ipvs.ApplyOne(ctx, b.table, ipvs.PutService(ipvs.Service{Key: key, Scheduler: "wlc"}))
		_ = ipvs.ApplyOne(ctx, b.table, ipvs.PutDestination(key, node(0)))
	default:
		b.running = false
		_ = ipvs.ApplyOne(ctx, b.table, ipvs.DeleteService(key))
	}
}

// state returns the state of the cluster and, once the node has a reading, updates the table.
func (b *fakeDaemon) state(r *http.Request) api.ClusterStatus {
	s := api.ClusterStatus{Name: "webapp", Mark: 7, RelayMark: b.relay, Scheduler: "wlc", Running: b.running}
	n := api.NodeStatus{Address: "10.0.0.1", State: "unknown"}
	if b.delay--; b.delay < 0 {
		n.State, n.Weight = "up", b.health
		if b.health == 0 {
			n.State = "down"
		}
		if b.running {
			_ = ipvs.ApplyOne(r.Context(), b.table, ipvs.PutDestination(ipvs.Key{Mark: 7, Family: ipvs.IPv4}, node(b.health)))
		}
	}
	s.Nodes = []api.NodeStatus{n}
	return s
}

func node(weight int) ipvs.Destination {
	return ipvs.Destination{Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: ipvs.Weight(weight)}
}

// fixture is a machine with a daemon, a configuration and a table.
type fixture struct {
	agent  Agent
	table  *ipvs.Memory
	daemon *fakeDaemon
	server *httptest.Server
	config string
	env    []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	s := &fixture{table: ipvs.NewMemory(), config: filepath.Join(dir, "lb.toml")}
	s.daemon = &fakeDaemon{table: s.table, health: 92}
	s.agent = Agent{
		OpenTable:     func() (ipvs.Table, error) { return sharedTable{s.table}, nil },
		Load:          func(path string) (*config.Config, error) { return config.Load(path, nil) },
		StateDir:      filepath.Join(dir, "state"),
		PollInterval:  time.Millisecond,
		GracePeriod:   50 * time.Millisecond,
		WeightTimeout: 10 * time.Second,
		DaemonTimeout: 10 * time.Second,
	}
	socket := filepath.Join(dir, "balancer.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: s.daemon}}
	s.server.Start()
	t.Cleanup(s.server.Close)
	s.env = []string{"OCF_RESKEY_cluster=webapp", "OCF_RESKEY_config=" + s.config, "OCF_RESKEY_control=" + socket}
	s.write(t, webConfig)
	return s
}

func (s *fixture) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// do runs an action and checks its status and standard error; "": no output at all.
func (s *fixture) do(t *testing.T, action string, status int, words string) {
	t.Helper()
	var out, err bytes.Buffer
	got := s.agent.Run(t.Context(), []string{action}, s.env, &out, &err)
	if got != status {
		t.Fatalf("%s: status %d, want %d: %s", action, got, status, &err)
	}
	if words == "" && err.Len() > 0 || !strings.Contains(err.String(), words) {
		t.Errorf("%s logs %q, want %q", action, err.String(), words)
	}
	if out.Len() > 0 {
		t.Errorf("%s prints %q", action, out.String())
	}
}

// forwards reports whether the table has the mark, and with which weight.
func (s *fixture) forwards(t *testing.T, mark ipvs.Mark) (bool, ipvs.Weight) {
	t.Helper()
	all, err := s.table.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range all {
		if service.Mark == mark {
			if len(service.Destinations) == 0 {
				return true, 0
			}
			return true, service.Destinations[0].Weight
		}
	}
	return false, 0
}

func (s *fixture) stopped(t *testing.T) {
	t.Helper()
	if yes, _ := s.forwards(t, 7); yes {
		t.Error("the kernel still forwards")
	}
}

// seed adds services with these marks to the table without lb balance.
func (s *fixture) seed(marks ...ipvs.Mark) {
	for _, m := range marks {
		s.table.Seed(ipvs.Service{Key: ipvs.Key{Mark: m, Family: ipvs.IPv4}, Scheduler: "wlc", Destinations: []ipvs.Destination{node(5)}})
	}
}

// hang makes the daemon accept requests and never respond.
func (s *fixture) hang() {
	s.daemon.mu.Lock()
	defer s.daemon.mu.Unlock()
	s.daemon.hung = true
	s.agent.DaemonTimeout = 20 * time.Millisecond
}

func TestAResourceStartsAndStops(t *testing.T) {
	s := newFixture(t)
	s.do(t, "validate-all", 0, "")
	s.do(t, "monitor", 7, "")
	s.do(t, "stop", 0, "")
	s.do(t, "start", 0, "")
	s.do(t, "monitor", 0, "")
	s.do(t, "status", 0, "")
	s.do(t, "reload", 0, "")
	s.do(t, "reload-agent", 0, "")
	s.do(t, "start", 0, "")
	s.do(t, "stop", 0, "")
	s.stopped(t)
	s.do(t, "monitor", 7, "")
	s.do(t, "stop", 0, "")
	left, err := os.ReadDir(s.agent.StateDir)
	if err != nil || len(left) != 1 {
		t.Errorf("want one record, have %v, %v", left, err)
	}
}

func TestStartReturnsWithWeightsInTheKernel(t *testing.T) {
	s := newFixture(t)
	s.daemon.delay = 5
	s.do(t, "start", 0, "")
	if yes, weight := s.forwards(t, 7); !yes || weight != 92 {
		t.Errorf("after start the kernel forwards: %v, with weight %d", yes, weight)
	}
}

func TestStartWithAllNodesDownWarns(t *testing.T) {
	s := newFixture(t)
	s.daemon.health = 0
	s.do(t, "start", 0, "none of its 1 nodes has a weight")
}

func TestStartTimesOutWithoutAReading(t *testing.T) {
	s := newFixture(t)
	s.daemon.delay = 1 << 30
	s.agent.WeightTimeout = 50 * time.Millisecond
	s.do(t, "start", 0, "none of its 1 nodes has a weight")
}

func TestStartFails(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *fixture)
		status  int
		words   string
	}{
		"daemon dead": {func(s *fixture) { s.server.Close() }, 1, "systemctl start lb-balance"},
		"daemon hung": {func(s *fixture) {
			s.hang()
			s.env = append(s.env, "OCF_RESKEY_CRM_meta_timeout=300")
		}, 1, "hangs"},
		"daemon without the cluster": {func(s *fixture) { s.daemon.unknown = true }, 1, `this balancer has no cluster "webapp"`},
		"daemon does nothing": {func(s *fixture) { s.daemon.lazy = true; s.agent.WeightTimeout = 300 * time.Millisecond }, 1,
			"accepted the start of webapp but does not run it"},
		"no IPVS": {func(s *fixture) {
			s.agent.OpenTable = func() (ipvs.Table, error) { return nil, fmt.Errorf("open: %w", netx.ErrNoIPVS) }
		}, 5, "modprobe ip_vs"},
		"no privilege": {func(s *fixture) {
			s.agent.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoPrivilege }
		}, 4, "CAP_NET_ADMIN"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			tt.prepare(s)
			s.do(t, "start", tt.status, tt.words)
		})
	}
}

func TestMonitorReportsFailures(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *fixture)
		status  int
		words   string
	}{
		"daemon dead, kernel forwards": {func(s *fixture) { s.server.Close(); s.seed(7) }, 1,
			"nothing updates its weights: cannot reach lb balance"},
		"daemon dead, kernel empty":            {func(s *fixture) { s.server.Close() }, 7, ""},
		"daemon dead, other cluster in kernel": {func(s *fixture) { s.server.Close(); s.seed(8) }, 7, ""},
		"daemon hung, kernel forwards":         {func(s *fixture) { s.hang(); s.seed(7) }, 1, "timed out"},
		"daemon hung, kernel empty":            {(*fixture).hang, 7, ""},
		"daemon runs it, kernel empty": {func(s *fixture) { s.daemon.running = true; s.daemon.delay = 1 << 30 }, 1,
			"lb balance runs webapp, but the kernel has no service for mark 7"},
		"daemon does not run it, kernel forwards": {func(s *fixture) { s.seed(7) }, 1, "but lb balance does not run it"},
		"daemon has no such cluster":              {func(s *fixture) { s.daemon.unknown = true }, 7, ""},
		"no IPVS": {func(s *fixture) {
			s.agent.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoIPVS }
		}, 7, ""},
		"no privilege": {func(s *fixture) {
			s.agent.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoPrivilege }
		}, 4, "CAP_NET_ADMIN"},
		"kernel error": {func(s *fixture) {
			s.table.SetFault(func(ipvs.Call) error { return errors.New("out of memory") })
		}, 1, "out of memory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			tt.prepare(s)
			s.do(t, "monitor", tt.status, tt.words)
		})
	}
}

func TestMonitorSurvivesARestartOfTheDaemon(t *testing.T) {
	s := newFixture(t)
	s.do(t, "start", 0, "")
	s.server.Close() // the socket is gone, the kernel still forwards
	s.agent.GracePeriod = 10 * time.Second
	opened := make(chan struct{})
	open := s.agent.OpenTable
	var once sync.Once
	s.agent.OpenTable = func() (ipvs.Table, error) {
		once.Do(func() { close(opened) })
		return open()
	}
	socket := strings.TrimPrefix(s.env[2], "OCF_RESKEY_control=")
	again := make(chan *httptest.Server)
	go func() {
		<-opened
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Error(err)
			close(again)
			return
		}
		server := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.daemon}}
		server.Start()
		again <- server
	}()
	s.do(t, "monitor", 0, "")
	if server := <-again; server != nil {
		server.Close()
	}
}

func TestStopWithoutTheDaemon(t *testing.T) {
	const removed = "removed mark 7 of webapp from the kernel without lb balance"
	tests := map[string]struct {
		prepare func(t *testing.T, s *fixture)
		words   string
	}{
		"dead":                {func(_ *testing.T, s *fixture) { s.server.Close() }, removed},
		"hung":                {func(_ *testing.T, s *fixture) { s.hang() }, removed + ": cannot reach lb balance"},
		"lazy":                {func(_ *testing.T, s *fixture) { s.daemon.lazy = true }, removed},
		"has no such cluster": {func(_ *testing.T, s *fixture) { s.daemon.unknown = true }, removed},
		"dead, errors in config": {func(t *testing.T, s *fixture) {
			s.server.Close()
			s.write(t, webConfig+"\nfoo = 1\n[clusters.webapp2]\nfwmark=\"x\"\n")
		}, removed},
		"dead, config is not TOML": {func(t *testing.T, s *fixture) { s.server.Close(); s.write(t, "[clusters") }, removed},
		"dead, config gone":        {func(t *testing.T, s *fixture) { s.server.Close(); remove(t, s.config) }, removed},
		"hung, config gone":        {func(t *testing.T, s *fixture) { s.hang(); remove(t, s.config) }, removed},
		"dead, mark has changed": {func(t *testing.T, s *fixture) {
			s.server.Close()
			s.write(t, strings.Replace(webConfig, "= 7", "= 9", 1))
		}, removed},
		"dead, cluster left config": {func(t *testing.T, s *fixture) {
			s.server.Close()
			s.write(t, strings.ReplaceAll(webConfig, "webapp", "other7"))
			s.write(t, strings.Replace(webConfig, "[clusters.webapp]\nfwmark = 7", "[clusters.other]\nfwmark = 70", 1))
		}, removed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			s.seed(8)
			s.do(t, "start", 0, "")
			tt.prepare(t, s)
			s.do(t, "stop", 0, tt.words)
			s.stopped(t)
			if yes, _ := s.forwards(t, 8); !yes {
				t.Error("another cluster was stopped as well")
			}
			s.do(t, "stop", 0, "")
		})
	}
}

// TestStopRemovesTheRelay gets the relay's mark from the configuration and from the record.
func TestStopRemovesTheRelay(t *testing.T) {
	relay := strings.Replace(webConfig, "fwmark = 7\n", "fwmark = 7\nrelay = true\n", 1)
	for name, prepare := range map[string]func(t *testing.T, s *fixture){
		"daemon dead": func(t *testing.T, s *fixture) { s.server.Close(); s.write(t, relay) },
		"daemon dead, config gone": func(t *testing.T, s *fixture) {
			s.daemon.relay = 10007
			s.do(t, "monitor", 0, "")
			s.server.Close()
			remove(t, s.config)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			s.do(t, "start", 0, "")
			s.seed(10007, 10008)
			prepare(t, s)
			s.do(t, "stop", 0, "removed mark 10007")
			s.stopped(t)
			for mark, want := range map[ipvs.Mark]bool{10007: false, 10008: true} {
				if got, _ := s.forwards(t, mark); got != want {
					t.Errorf("mark %d is in the kernel: %v", mark, got)
				}
			}
			s.do(t, "stop", 0, "")
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestStopLeavesAMarkThatNowBelongsToAnother(t *testing.T) {
	s := newFixture(t)
	s.do(t, "start", 0, "")
	s.server.Close()
	s.write(t, strings.NewReplacer("webapp", "other").Replace(webConfig)) // mark 7 now belongs to other
	s.do(t, "stop", 0, "")
	if yes, _ := s.forwards(t, 7); !yes {
		t.Error("the service of cluster other was removed")
	}
}

func TestStopWithoutAKnownMark(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *fixture)
		status  int
		words   string
	}{
		"kernel empty":                   {func(s *fixture) { s.server.Close() }, 0, ""},
		"only marks of other clusters":   {func(s *fixture) { s.server.Close(); s.seed(8) }, 0, ""},
		"a mark of no cluster":           {func(s *fixture) { s.server.Close(); s.seed(8, 99) }, 1, "ipvsadm -D -f 99"},
		"the daemon has no such cluster": {func(s *fixture) { s.daemon.unknown = true; s.seed(99) }, 0, ""},
		"kernel without IPVS": {func(s *fixture) {
			s.server.Close()
			s.agent.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoIPVS }
		}, 0, ""},
		"no privilege": {func(s *fixture) {
			s.server.Close()
			s.agent.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoPrivilege }
		}, 4, "CAP_NET_ADMIN"},
		"a failed read": {func(s *fixture) { s.server.Close(); s.table.FailCall(1, errors.New("out of memory")) }, 1, "out of memory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			s.write(t, webConfig[strings.Index(webConfig, "[clusters.mail]"):])
			tt.prepare(s)
			s.do(t, "stop", tt.status, tt.words)
		})
	}
}

func TestStopFailsIfTheKernelRejectsIt(t *testing.T) {
	s := newFixture(t)
	s.do(t, "start", 0, "")
	s.server.Close()
	s.table.SetFault(func(c ipvs.Call) error {
		if c.Operation == "delete service" {
			return errors.New("device or resource busy")
		}
		return nil
	})
	s.do(t, "stop", 1, "stop webapp: delete service mark 7: device or resource busy")
	s.table.SetFault(nil)
	s.do(t, "stop", 0, "removed mark 7")
	s.stopped(t)
}

func TestMonitorWritesTheRecord(t *testing.T) {
	s := newFixture(t)
	s.seed(7) // it ran before lb balance started and adopted it
	s.daemon.running = true
	s.do(t, "monitor", 0, "")
	s.server.Close()
	remove(t, s.config)
	s.do(t, "stop", 0, "removed mark 7")
	s.stopped(t)
}

func TestActionsEndBeforeTheClusterManagersTimeout(t *testing.T) {
	s := newFixture(t)
	s.hang()
	s.agent.DaemonTimeout, s.agent.GracePeriod, s.agent.WeightTimeout = time.Hour, time.Hour, time.Hour
	s.seed(7)
	s.env = append(s.env, "OCF_RESKEY_CRM_meta_timeout=1000")
	s.do(t, "monitor", 1, "timed out")
	s.do(t, "start", 1, "timed out")
	s.do(t, "stop", 0, "removed mark 7")
}

func TestParameters(t *testing.T) {
	tests := map[string]struct {
		action string
		change func(t *testing.T, s *fixture)
		status int
		words  string
	}{
		"no cluster": {"monitor", func(_ *testing.T, s *fixture) { s.env = s.env[1:] }, 6,
			"the parameter cluster is missing"},
		"a path as cluster": {"stop", func(_ *testing.T, s *fixture) { s.env[0] = "OCF_RESKEY_cluster=../etc" }, 6,
			`"../etc" cannot be the name of a cluster`},
		"cluster not in the config": {"validate-all", func(_ *testing.T, s *fixture) { s.env[0] = "OCF_RESKEY_cluster=nope" }, 2,
			"add [clusters.nope]"},
		"config with errors": {"validate-all", func(t *testing.T, s *fixture) { s.write(t, webConfig+"foo = 1\n") }, 2,
			"has errors"},
		"config gone": {"validate-all", func(t *testing.T, s *fixture) { remove(t, s.config) }, 5, "cannot be read"},
		"invalid control": {"validate-all", func(_ *testing.T, s *fixture) { s.env[2] = "OCF_RESKEY_control=x" }, 2,
			"parameter control"},
		"invalid control, start": {"start", func(_ *testing.T, s *fixture) { s.env[2] = "OCF_RESKEY_control=x" }, 2,
			"parameter control"},
		"invalid control, monitor": {"monitor", func(_ *testing.T, s *fixture) { s.env[2] = "OCF_RESKEY_control=x" }, 2,
			"parameter control"},
		"invalid control, stop": {"stop", func(_ *testing.T, s *fixture) { s.env[2] = "OCF_RESKEY_control=x"; s.seed(7) }, 0,
			"removed mark 7"},
		"unknown action": {"promote", func(*testing.T, *fixture) {}, 3, `unknown action "promote"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			tt.change(t, s)
			s.do(t, tt.action, tt.status, tt.words)
		})
	}
}

func TestControlSocketFromTheConfig(t *testing.T) {
	s := newFixture(t)
	socket := strings.TrimPrefix(s.env[2], "OCF_RESKEY_control=")
	s.write(t, fmt.Sprintf("[balancer]\ncontrol = %q\n%s", socket, webConfig))
	s.env = s.env[:2]
	s.do(t, "start", 0, "")
	s.do(t, "monitor", 0, "")
}

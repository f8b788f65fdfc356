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

// shared is the kernel's table as several processes have it open: closing one handle leaves it.
type shared struct{ *ipvs.Memory }

func (shared) Close() error { return nil }

// fakeDaemon stands in for lb balance: it runs clusters in the table, a little late as the real one does.
type fakeDaemon struct {
	table *ipvs.Memory

	mu      sync.Mutex // protects all below
	running bool
	unknown bool // it does not have the cluster
	lazy    bool // it says yes and does nothing
	hung    bool
	delay   int // questions until a node's reading is there
	health  int
	relay   uint32 // mark of the cluster's relay; 0 is none
	asked   []string
}

func (b *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	hung := b.hung
	b.asked = append(b.asked, r.Method)
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

// state answers with what it decided; the readings come after some questions.
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

// stage is a machine with a daemon, a configuration and a table.
type stage struct {
	machine Machine
	table   *ipvs.Memory
	daemon  *fakeDaemon
	server  *httptest.Server
	config  string
	env     []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{table: ipvs.NewMemory(), config: filepath.Join(dir, "lb.toml")}
	s.daemon = &fakeDaemon{table: s.table, health: 92}
	s.machine = Machine{
		OpenTable: func() (ipvs.Table, error) { return shared{s.table}, nil },
		LoadFile:  func(path string) (*config.Config, error) { return config.Load(path, nil) },
		StateDir:  filepath.Join(dir, "state"),
		Pace:      time.Millisecond,
		Patience:  50 * time.Millisecond,
		Settle:    10 * time.Second,
		AskLimit:  10 * time.Second,
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

func (s *stage) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// do runs an action and compares status and standard error; "" is no words at all.
func (s *stage) do(t *testing.T, action string, status int, words string) {
	t.Helper()
	var out, err bytes.Buffer
	got := s.machine.Run(t.Context(), []string{action}, s.env, &out, &err)
	if got != status {
		t.Fatalf("%s: status %d, want %d: %s", action, got, status, &err)
	}
	if words == "" && err.Len() > 0 || !strings.Contains(err.String(), words) {
		t.Errorf("%s says %q, want %q", action, err.String(), words)
	}
	if out.Len() > 0 {
		t.Errorf("%s prints %q", action, out.String())
	}
}

// forwards tells whether the table has the mark, and with which weight.
func (s *stage) forwards(t *testing.T, mark ipvs.Mark) (bool, ipvs.Weight) {
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

func (s *stage) stopped(t *testing.T) {
	t.Helper()
	if yes, _ := s.forwards(t, 7); yes {
		t.Error("the kernel still forwards")
	}
}

// seed puts services with these marks into the table as somebody else would.
func (s *stage) seed(marks ...ipvs.Mark) {
	for _, m := range marks {
		s.table.Seed(ipvs.Service{Key: ipvs.Key{Mark: m, Family: ipvs.IPv4}, Scheduler: "wlc", Destinations: []ipvs.Destination{node(5)}})
	}
}

// hang makes the daemon accept and never answer.
func (s *stage) hang() {
	s.daemon.mu.Lock()
	defer s.daemon.mu.Unlock()
	s.daemon.hung = true
	s.machine.AskLimit = 20 * time.Millisecond
}

func TestLifeOfAResource(t *testing.T) {
	s := newStage(t)
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
	left, err := os.ReadDir(s.machine.StateDir)
	if err != nil || len(left) != 1 {
		t.Errorf("more is left behind than one record: %v, %v", left, err)
	}
}

func TestStartReturnsWithWeightsInTheKernel(t *testing.T) {
	s := newStage(t)
	s.daemon.delay = 5
	s.do(t, "start", 0, "")
	if yes, weight := s.forwards(t, 7); !yes || weight != 92 {
		t.Errorf("after start the kernel forwards: %v, with weight %d", yes, weight)
	}
}

func TestStartWithAllNodesDownWarns(t *testing.T) {
	s := newStage(t)
	s.daemon.health = 0
	s.do(t, "start", 0, "none of its 1 nodes has a weight")
}

func TestStartDoesNotWaitForEverForAReading(t *testing.T) {
	s := newStage(t)
	s.daemon.delay = 1 << 30
	s.machine.Settle = 50 * time.Millisecond
	s.do(t, "start", 0, "none of its 1 nodes has a weight")
}

func TestStartFails(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *stage)
		status  int
		words   string
	}{
		"daemon dead": {func(s *stage) { s.server.Close() }, 1, "systemctl start lb-balance"},
		"daemon hung": {func(s *stage) {
			s.hang()
			s.env = append(s.env, "OCF_RESKEY_CRM_meta_timeout=300")
		}, 1, "hangs"},
		"daemon without the cluster": {func(s *stage) { s.daemon.unknown = true }, 1, `this balancer has no cluster "webapp"`},
		"daemon does nothing":        {func(s *stage) { s.daemon.lazy = true; s.machine.Settle = 300 * time.Millisecond }, 1, "was told to run webapp and does not"},
		"no IPVS": {func(s *stage) {
			s.machine.OpenTable = func() (ipvs.Table, error) { return nil, fmt.Errorf("open: %w", netx.ErrNoIPVS) }
		}, 5, "modprobe ip_vs"},
		"no privilege": {func(s *stage) {
			s.machine.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoPrivilege }
		}, 4, "CAP_NET_ADMIN"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			tt.prepare(s)
			s.do(t, "start", tt.status, tt.words)
		})
	}
}

func TestMonitorTellsWhatIsWrong(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *stage)
		status  int
		words   string
	}{
		"daemon dead, kernel forwards":            {func(s *stage) { s.server.Close(); s.seed(7) }, 1, "nobody follows the nodes' health: cannot reach lb balance"},
		"daemon dead, kernel empty":               {func(s *stage) { s.server.Close() }, 7, ""},
		"daemon dead, other cluster in kernel":    {func(s *stage) { s.server.Close(); s.seed(8) }, 7, ""},
		"daemon hung, kernel forwards":            {func(s *stage) { s.hang(); s.seed(7) }, 1, "no answer in time"},
		"daemon hung, kernel empty":               {(*stage).hang, 7, ""},
		"daemon runs it, kernel empty":            {func(s *stage) { s.daemon.running = true; s.daemon.delay = 1 << 30 }, 1, "lb balance runs webapp and the kernel has no service for mark 7"},
		"daemon does not run it, kernel forwards": {func(s *stage) { s.seed(7) }, 1, "lb balance does not run it"},
		"daemon has no such cluster":              {func(s *stage) { s.daemon.unknown = true }, 7, ""},
		"no IPVS": {func(s *stage) {
			s.machine.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoIPVS }
		}, 7, ""},
		"no privilege": {func(s *stage) {
			s.machine.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoPrivilege }
		}, 4, "CAP_NET_ADMIN"},
		"kernel error": {func(s *stage) {
			s.table.SetFault(func(ipvs.Call) error { return errors.New("out of memory") })
		}, 1, "out of memory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			tt.prepare(s)
			s.do(t, "monitor", tt.status, tt.words)
		})
	}
}

func TestMonitorOutlastsARestartOfTheDaemon(t *testing.T) {
	s := newStage(t)
	s.do(t, "start", 0, "")
	s.server.Close() // the socket is gone, the kernel still forwards
	s.machine.Patience = 10 * time.Second
	looked := make(chan struct{})
	open := s.machine.OpenTable
	var once sync.Once
	s.machine.OpenTable = func() (ipvs.Table, error) {
		once.Do(func() { close(looked) })
		return open()
	}
	socket := strings.TrimPrefix(s.env[2], "OCF_RESKEY_control=")
	again := make(chan *httptest.Server)
	go func() {
		<-looked
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
	const took = "took mark 7 of webapp out of the kernel without lb balance"
	tests := map[string]struct {
		prepare func(t *testing.T, s *stage)
		words   string
	}{
		"dead":                  {func(_ *testing.T, s *stage) { s.server.Close() }, took},
		"hung":                  {func(_ *testing.T, s *stage) { s.hang() }, took + ": cannot reach lb balance"},
		"lazy":                  {func(_ *testing.T, s *stage) { s.daemon.lazy = true }, took},
		"knows no such cluster": {func(_ *testing.T, s *stage) { s.daemon.unknown = true }, took},
		"dead, mistakes in config": {func(t *testing.T, s *stage) {
			s.server.Close()
			s.write(t, webConfig+"\nfoo = 1\n[clusters.webapp2]\nfwmark=\"x\"\n")
		}, took},
		"dead, config is no TOML": {func(t *testing.T, s *stage) { s.server.Close(); s.write(t, "[clusters") }, took},
		"dead, config gone":       {func(t *testing.T, s *stage) { s.server.Close(); remove(t, s.config) }, took},
		"hung, config gone":       {func(t *testing.T, s *stage) { s.hang(); remove(t, s.config) }, took},
		"dead, mark has changed": {func(t *testing.T, s *stage) {
			s.server.Close()
			s.write(t, strings.Replace(webConfig, "= 7", "= 9", 1))
		}, took},
		"dead, cluster left config": {func(t *testing.T, s *stage) {
			s.server.Close()
			s.write(t, strings.ReplaceAll(webConfig, "webapp", "other7"))
			s.write(t, strings.Replace(webConfig, "[clusters.webapp]\nfwmark = 7", "[clusters.other]\nfwmark = 70", 1))
		}, took},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.seed(8)
			s.do(t, "start", 0, "")
			tt.prepare(t, s)
			s.do(t, "stop", 0, tt.words)
			s.stopped(t)
			if yes, _ := s.forwards(t, 8); !yes {
				t.Error("another cluster was stopped, too")
			}
			s.do(t, "stop", 0, "")
		})
	}
}

// The relay's mark is told by the daemon, the configuration, or the record of the start.
func TestStopTakesTheRelayOutToo(t *testing.T) {
	relay := strings.Replace(webConfig, "fwmark = 7\n", "fwmark = 7\nrelay = true\n", 1)
	for name, prepare := range map[string]func(t *testing.T, s *stage){
		"daemon dead": func(t *testing.T, s *stage) { s.server.Close(); s.write(t, relay) },
		"daemon dead, config gone": func(t *testing.T, s *stage) {
			s.daemon.relay = 10007
			s.do(t, "monitor", 0, "")
			s.server.Close()
			remove(t, s.config)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.do(t, "start", 0, "")
			s.seed(10007, 10008)
			prepare(t, s)
			s.do(t, "stop", 0, "took mark 10007")
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

func TestStopLeavesAMarkThatIsAnothersByNow(t *testing.T) {
	s := newStage(t)
	s.do(t, "start", 0, "")
	s.server.Close()
	s.write(t, strings.NewReplacer("webapp", "other").Replace(webConfig)) // mark 7 is other's
	s.do(t, "stop", 0, "")
	if yes, _ := s.forwards(t, 7); !yes {
		t.Error("the service of cluster other was removed")
	}
}

func TestStopOfWhatNobodyKnows(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *stage)
		status  int
		words   string
	}{
		"kernel empty":                     {func(s *stage) { s.server.Close() }, 0, ""},
		"kernel has what others explain":   {func(s *stage) { s.server.Close(); s.seed(8) }, 0, ""},
		"kernel has what nothing explains": {func(s *stage) { s.server.Close(); s.seed(8, 99) }, 1, "ipvsadm -D -f 99"},
		"the daemon knows no such cluster": {func(s *stage) { s.daemon.unknown = true; s.seed(99) }, 0, ""},
		"kernel without IPVS": {func(s *stage) {
			s.server.Close()
			s.machine.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoIPVS }
		}, 0, ""},
		"kernel that does not let us look": {func(s *stage) {
			s.server.Close()
			s.machine.OpenTable = func() (ipvs.Table, error) { return nil, netx.ErrNoPrivilege }
		}, 4, "CAP_NET_ADMIN"},
		"kernel that fails when it is asked": {func(s *stage) { s.server.Close(); s.table.FailCall(1, errors.New("out of memory")) }, 1, "out of memory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.write(t, webConfig[strings.Index(webConfig, "[clusters.mail]"):])
			tt.prepare(s)
			s.do(t, "stop", tt.status, tt.words)
		})
	}
}

func TestStopThatTheKernelRefusesFails(t *testing.T) {
	s := newStage(t)
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
	s.do(t, "stop", 0, "took mark 7")
	s.stopped(t)
}

func TestMonitorKeepsTheRecord(t *testing.T) {
	s := newStage(t)
	s.seed(7) // it ran before lb balance started, which adopted it
	s.daemon.running = true
	s.do(t, "monitor", 0, "")
	s.server.Close()
	remove(t, s.config)
	s.do(t, "stop", 0, "took mark 7")
	s.stopped(t)
}

func TestTheClusterManagersTimeoutIsKept(t *testing.T) {
	s := newStage(t)
	s.hang()
	s.machine.AskLimit, s.machine.Patience, s.machine.Settle = time.Hour, time.Hour, time.Hour
	s.seed(7)
	s.env = append(s.env, "OCF_RESKEY_CRM_meta_timeout=1000")
	s.do(t, "monitor", 1, "no answer in time")
	s.do(t, "start", 1, "no answer in time")
	s.do(t, "stop", 0, "took mark 7")
}

func TestParameters(t *testing.T) {
	tests := map[string]struct {
		action string
		change func(t *testing.T, s *stage)
		status int
		words  string
	}{
		"no cluster":                {"monitor", func(_ *testing.T, s *stage) { s.env = s.env[1:] }, 6, "the parameter cluster is missing"},
		"a path as cluster":         {"stop", func(_ *testing.T, s *stage) { s.env[0] = "OCF_RESKEY_cluster=../etc" }, 6, `"../etc" can be no cluster`},
		"cluster not in the config": {"validate-all", func(_ *testing.T, s *stage) { s.env[0] = "OCF_RESKEY_cluster=nope" }, 2, "add [clusters.nope]"},
		"config with mistakes":      {"validate-all", func(t *testing.T, s *stage) { s.write(t, webConfig+"foo = 1\n") }, 2, "has mistakes"},
		"config gone":               {"validate-all", func(t *testing.T, s *stage) { remove(t, s.config) }, 5, "cannot be read"},
		"control that is none":      {"validate-all", func(_ *testing.T, s *stage) { s.env[2] = "OCF_RESKEY_control=x" }, 2, "parameter control"},
		"control, start":            {"start", func(_ *testing.T, s *stage) { s.env[2] = "OCF_RESKEY_control=x" }, 2, "parameter control"},
		"control, monitor":          {"monitor", func(_ *testing.T, s *stage) { s.env[2] = "OCF_RESKEY_control=x" }, 2, "parameter control"},
		"control, stop":             {"stop", func(_ *testing.T, s *stage) { s.env[2] = "OCF_RESKEY_control=x"; s.seed(7) }, 0, "took mark 7"},
		"no such action":            {"promote", func(*testing.T, *stage) {}, 3, `no action "promote"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			tt.change(t, s)
			s.do(t, tt.action, tt.status, tt.words)
		})
	}
}

func TestControlSocketFromTheConfig(t *testing.T) {
	s := newStage(t)
	socket := strings.TrimPrefix(s.env[2], "OCF_RESKEY_control=")
	s.write(t, fmt.Sprintf("[balancer]\ncontrol = %q\n%s", socket, webConfig))
	s.env = s.env[:2]
	s.do(t, "start", 0, "")
	s.do(t, "monitor", 0, "")
}

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/braintree/lb/netx/golden"
)

// validate stands in for the validator of the agent's checks.
func validate(c Check) error {
	o := c.Options
	switch c.Type {
	case "http":
		if url := o.String("url", ""); !strings.HasPrefix(url, "http://") {
			o.Invalid("url", "is not a URL", `use a URL such as "http://localhost:3000/heartbeat"`)
		}
		o.String("method", "GET")
		o.Bool("follow_redirects", false)
		o.StringMap("headers")
	case "tcp":
		o.String("address", "")
	case "script":
		o.String("command", "")
	case "cpu_load", "available_memory", "constant":
	default:
		o.Invalid("type", "is not a check", "use http, tcp, script, cpu_load, available_memory or constant")
	}
	return o.Err()
}

// TestEachBadFileGivesItsErrors loads testdata/bad/X.toml or testdata/bad/X/lb.toml and compares the errors with X.txt.
func TestEachBadFileGivesItsErrors(t *testing.T) {
	t.Chdir("testdata/bad")
	files, err := filepath.Glob("*.toml")
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("*/lb.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 15 || len(folders) < 3 {
		t.Fatalf("only %d files and %d folders", len(files), len(folders))
	}
	for _, path := range append(files, folders...) {
		want := strings.TrimSuffix(strings.TrimSuffix(path, "/lb.toml"), ".toml") + ".txt"
		t.Run(path, func(t *testing.T) {
			cfg, err := Load(path, validate)
			if err == nil {
				t.Fatal("no error")
			}
			if cfg != nil {
				t.Error("a configuration in addition to the error")
			}
			golden.Compare(t, want, err.Error()+"\n")
			ds, ok := errors.AsType[Diagnostics](err)
			if !ok {
				t.Fatalf("the error is %T", err)
			}
			for _, d := range ds {
				if d.File == "" || d.Problem == "" || d.Fix == "" || d.Line == 0 && d.Key != "" {
					t.Errorf("lacks file, line, problem or fix: %#v", d)
				}
				if strings.Contains(d.String(), "\n") {
					t.Errorf("more than one line: %q", d.String())
				}
			}
		})
	}
}

// equal compares configurations without their warnings.
func equal(t *testing.T, got, want *Config) {
	t.Helper()
	addresses := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), addresses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func load(t *testing.T, path string) *Config {
	t.Helper()
	cfg, err := Load(path, validate)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// write creates a file in a new folder and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lb.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEmptyFileGivesTheDefaults(t *testing.T) {
	path := write(t, "")
	cfg := load(t, path)
	equal(t, cfg, &Config{
		Path:  path,
		Agent: Agent{Listen: ":9293", Control: "/run/lb/agent.sock", DataDir: "/var/lib/lb/agent"},
		Balancer: Balancer{Listen: "127.0.0.1:9292", Control: "/run/lb/balancer.sock", DataDir: "/var/lib/lb/balancer",
			OverrideDir: "/etc/lb"},
	})
	if w := cfg.Warnings(); len(w) != 1 || !strings.Contains(w[0].Problem, "neither services nor clusters") {
		t.Errorf("warnings: %v", w)
	}
}

// defaultWeights are the Weights of a cluster without any keys about weights.
func defaultWeights() Weights {
	return Weights{
		Mode: ActiveActive, AllDown: RefuseAll, OnFailure: DrainFailed, Downpage: Downpage{Address: netip.MustParseAddr("169.254.254.254"),
			OwnPage: OwnPage{RetryAfter: 30 * time.Second}}, SuspectTime: time.Minute,
	}
}

func TestMinimalClusterGetsTheDefaults(t *testing.T) {
	cfg := load(t, write(t, `
		[clusters.webapp]
		fwmark = 7
		vips = [ { address = "204.109.13.7", ports = [443] } ]
		nodes = [ { address = "10.0.0.1" } ]
	`))
	got, ok := cfg.Cluster("webapp")
	if !ok {
		t.Fatal("no cluster")
	}
	want := Cluster{
		Name: "webapp", Mark: 7, Scheduler: "wlc", Forwarding: IPIP,
		CheckInterval: 2 * time.Second, CheckTimeout: time.Second, Rise: 1, Fall: 2,
		RampUpTime: time.Minute, MaxWeight: 0, DrainTimeout: 5 * time.Minute, MinHealthy: 1, Autostart: false, Watch: WatchAuto,
		Weights:   defaultWeights(),
		Balancing: Balancing{PersistenceNetmask: 32, PersistenceNetmaskV6: 128},
		VIPs:      []VIP{{Address: netip.MustParseAddr("204.109.13.7"), Protocol: "tcp", Ports: []uint16{443}}},
		Nodes:     []Node{{Address: netip.MustParseAddr("10.0.0.1"), Port: 9293, Path: "/webapp/status"}},
	}
	equal(t, &Config{Clusters: []Cluster{got}}, &Config{Clusters: []Cluster{want}})
	if len(cfg.Warnings()) != 0 {
		t.Errorf("warnings: %v", cfg.Warnings())
	}
}

func TestFleetOfSeveralFiles(t *testing.T) {
	cfg := load(t, "testdata/good/fleet/lb.toml")
	if cfg.Balancer.Listen != "localhost:80" || !cfg.Balancer.TrustLoopback || cfg.Balancer.DataDir != "/srv/lb" ||
		!cfg.Agent.Tunnel.Enabled ||
		cfg.Agent.Listen != ":9293" || cfg.Balancer.Sync != (Sync{Interface: "eth1", ID: 255}) ||
		cfg.Balancer.Timeouts != (Timeouts{TCP: time.Hour, UDP: 90 * time.Second}) {
		t.Errorf("agent %+v, balancer %+v", cfg.Agent, cfg.Balancer)
	}
	equal(t, &Config{Clusters: cfg.Clusters}, &Config{Clusters: []Cluster{
		{
			Name: "mail.example.com", Mark: 4294967295, Scheduler: "sh", Forwarding: NAT,
			CheckInterval: 500 * time.Millisecond, CheckTimeout: 250 * time.Millisecond, Rise: 2, Fall: 3,
			RampUpTime: time.Minute, MaxWeight: 50, MinHealthy: 1, Autostart: true, Watch: WatchPoll, Weights: defaultWeights(),
			Balancing: Balancing{
				Fallback: true, HashPort: true, Persistence: 5 * time.Minute, PersistenceNetmask: 24, PersistenceNetmaskV6: 64,
				MaxConnections: 1000, MinConnections: 800,
			},
			VIPs: []VIP{
				{Address: netip.MustParseAddr("192.0.2.25"), Protocol: "tcp", Ports: []uint16{25}},
				{Address: netip.MustParseAddr("2001:db8::25"), Protocol: "sctp", Ports: []uint16{25}},
			},
			Nodes: []Node{
				{Address: netip.MustParseAddr("10.0.1.1"), Port: 9293, Path: "/mail.example.com/status", MaxConnections: 1000},
				{Address: netip.MustParseAddr("2001:db8::1"), Port: 9293, Path: "/mail.example.com/status", MaxConnections: 900},
			},
		},
		{
			Name: "webapp", Mark: 7, Scheduler: "wlc", Forwarding: IPIP,
			CheckInterval: 2 * time.Second, CheckTimeout: time.Second, Rise: 1, Fall: 2,
			RampUpTime: 2 * time.Minute, DrainTimeout: 5 * time.Minute, MinHealthy: 2, Watch: WatchAuto, Weights: defaultWeights(),
			Balancing: Balancing{PersistenceNetmask: 32, PersistenceNetmaskV6: 128},
			VIPs:      []VIP{{Address: netip.MustParseAddr("204.109.13.7"), Interface: "eth10", Protocol: "tcp", Ports: []uint16{443, 80}}},
			Nodes: []Node{
				{Address: netip.MustParseAddr("10.0.0.1"), Port: 80, Path: "/webapp/status"},
				{Address: netip.MustParseAddr("10.0.0.2"), Port: 9293, Path: "/app/status?x=1"},
			},
		},
	}})
	s, ok := cfg.Service("webapp")
	if !ok || len(s.Depends) != 1 || len(s.Metrics) != 2 {
		t.Fatalf("service %+v", s)
	}
	http, load, constant := s.Depends[0], s.Metrics[0], s.Metrics[1]
	if http.Role != Dependency || http.Type != "http" || http.Interval != time.Second || http.Timeout != time.Second/2 ||
		http.Options.String("url", "") != "http://localhost:3000/heartbeat" {
		t.Errorf("http is %+v", http)
	}
	if load.Role != Metric || load.Interval != 3*time.Second || load.Timeout != 2*time.Second || load.Weight != 80 {
		t.Errorf("cpu_load is %+v", load)
	}
	if constant.Interval != 10*time.Second || constant.Timeout != 9*time.Second {
		t.Errorf("constant is %+v", constant)
	}
}

func TestLoadFiles(t *testing.T) {
	const path = "testdata/good/fleet/lb.toml"
	files, err := Files(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 2 || files[0].Name != path {
		t.Fatalf("files %+v", files)
	}
	cfg, err := LoadFiles(files, validate)
	if err != nil {
		t.Fatal(err)
	}
	want := load(t, path)
	cfg.warnings, want.warnings = nil, nil // some are about files on disk
	equal(t, cfg, want)
	if _, err := LoadFiles(files[:1], nil); err != nil {
		t.Errorf("without the included files: %v", err)
	}
	if _, err := LoadFiles([]File{{"lb.toml", "x"}}, nil); err == nil || !strings.Contains(err.Error(), "lb.toml:1: is not TOML") {
		t.Errorf("not TOML: %v", err)
	}
	if _, err := Files("testdata/none.toml"); err == nil {
		t.Error("a missing file is accepted")
	}
}

func TestListenForms(t *testing.T) {
	for listen, good := range map[string]bool{
		":9293": true, "0.0.0.0:80": true, "[::1]:9293": true, "[::]:9293": true, "app01.example.com:9293": true, "localhost:1": true,
		"": false, "9293": false, "[::1]": false, "[::1:80": false, "[127.0.0.1]:80": false, ":http": false, ":-1": false, ":65536": false,
		"a b:80": false, "1.2.3:80": false, "unix:/run/lb.sock": false,
	} {
		cfg, err := Load(write(t, "[agent]\nlisten = "+strconv.Quote(listen)), nil)
		switch {
		case good && (err != nil || cfg.Agent.Listen != listen):
			t.Errorf("%q: %v", listen, err)
		case !good && err == nil:
			t.Errorf("%q is accepted", listen)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Chdir("testdata/good")
	cfg := load(t, "warnings.toml")
	golden.Compare(t, "warnings.txt", Diagnostics(cfg.Warnings()).Error()+"\n")
}

func TestAWorldWritableFileIsAWarning(t *testing.T) {
	path := write(t, "[services.a]\nmetrics = [ { type = \"constant\", weight = 1 } ]\n")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	want := path + ": is writable by every user: chmod o-w " + path
	if got := Diagnostics(load(t, path).Warnings()).Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIncludeSkipsHiddenFilesAndFolders(t *testing.T) {
	path := write(t, `include = ["*.toml"]`)
	for name, text := range map[string]string{
		".#a.toml": "left behind by an editor", "a.toml": "[agent.tunnel]\nenabled = true\n", "folder.toml/x": "",
	} {
		file := filepath.Join(filepath.Dir(path), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !load(t, path).Agent.Tunnel.Enabled {
		t.Error("a.toml is not included")
	}
}

func TestTunnelWatchOnly(t *testing.T) {
	if got := load(t, write(t, "[agent.tunnel]\nwatch_only = true\n")).Agent.Tunnel; got != (Tunnel{WatchOnly: true}) {
		t.Errorf("%+v", got)
	}
}

func TestAnUnreadableIncludedFolder(t *testing.T) {
	path := write(t, `include = ["lb.toml/*.toml"]`) // a file instead of a folder: permissions do not stop root
	want := path + ": cannot be read: not a directory: check the path and the file system"
	if _, err := Load(path, nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAFileThatIsTooLarge(t *testing.T) {
	path := write(t, "")
	if err := os.Truncate(path, maxFileSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err == nil || err.Error() != path+": is larger than 16 MiB: name a configuration file" {
		t.Errorf("got %v", err)
	}
}

func TestAnUnreadableFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "lb.toml"): "cannot be read: no such file or directory: correct the path, or create the file",
		dir: "cannot be read: is a directory: name a file; " +
			"to include a folder's files, use a pattern such as \"conf.d/*.toml\"",
	} {
		if _, err := Load(path, nil); err == nil || err.Error() != path+": "+want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestWithoutAValidatorOptionsAreNotChecked(t *testing.T) {
	cfg, err := Load(write(t, "[services.a]\nmetrics = [ { type = \"moon_phase\", weight = 1, hemisphere = \"north\" } ]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := cfg.Services[0].Metrics[0].Options
	if got := o.String("hemisphere", ""); got != "north" {
		t.Errorf("hemisphere is %q", got)
	}
	if err := o.Err(); err != nil {
		t.Errorf("keys that were read count as unknown: %v", err)
	}
}

func TestAnotherErrorOfTheValidator(t *testing.T) {
	path := write(t, "\n[services.a]\nmetrics = [ { type = \"constant\", weight = 1 } ]\n")
	_, err := Load(path, func(Check) error { return errors.New("no moon in sight") })
	if err == nil || err.Error() != path+":3: services.a.metrics[0]: no moon in sight" {
		t.Errorf("got %v", err)
	}
}

func TestSchedulersAreSorted(t *testing.T) {
	if !slices.IsSorted(schedulers) {
		t.Error("not sorted")
	}
}

func TestLoadText(t *testing.T) {
	cfg, err := LoadText("made.toml", "[services.webapp]\nmetrics = [ { type = \"constant\", weight = 100 } ]\n", nil)
	if err != nil || len(cfg.Services) != 1 {
		t.Errorf("%+v, %v", cfg, err)
	}
	_, err = LoadText("made.toml", "[services.webapp]\nmetric = 1\n", nil)
	if err == nil || !strings.Contains(err.Error(), "made.toml:2: services.webapp.metric = 1: is an unknown key") {
		t.Errorf("got %v", err)
	}
}

func TestOnFailureFollowsTheProtocols(t *testing.T) {
	for _, c := range []struct {
		name, keys, protocols string
		want                  OnFailure
		warned                bool
	}{
		{"TCP", "", "tcp", DrainFailed, false},
		{"SCTP", "", "sctp", DrainFailed, false},
		{"UDP", "", "udp", RemoveFailed, false},
		{"TCP and UDP", "", "tcp udp", RemoveFailed, false},
		{"UDP without connections", "one_packet = true", "udp", DrainFailed, false},
		{"TCP, removed", `on_failure = "remove"`, "tcp", RemoveFailed, false},
		{"UDP, drained", `on_failure = "drain"`, "udp", DrainFailed, true},
		{"UDP without connections, drained", "one_packet = true\non_failure = \"drain\"", "udp", DrainFailed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			vips := ""
			for _, protocol := range strings.Fields(c.protocols) {
				vips += fmt.Sprintf("{ address = \"192.0.2.7\", ports = [53], protocol = %q },", protocol)
			}
			cfg := load(t, write(t, "[clusters.a]\nfwmark = 7\n"+c.keys+"\nvips = ["+vips+"]\nnodes = [ { address = \"10.0.0.1\" } ]\n"))
			if got := cfg.Clusters[0].OnFailure; got != c.want {
				t.Errorf("on_failure is %q, want %q", got, c.want)
			}
			if got := cfg.KernelFeatures().Removal; got != (c.want == RemoveFailed) {
				t.Errorf("removal: %t", got)
			}
			if warned := len(cfg.Warnings()) > 0; warned != c.warned {
				t.Errorf("warnings: %v", cfg.Warnings())
			}
		})
	}
}

package doctor

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
)

// verdict finds the only finding whose words contain a text, and returns its first word.
func verdict(t *testing.T, found []Finding, text string) string {
	t.Helper()
	var verdicts []string
	for _, f := range found {
		if strings.Contains(f.String(), text) {
			first, _, _ := strings.Cut(f.String(), ":")
			verdicts = append(verdicts, first)
		}
	}
	if len(verdicts) != 1 {
		t.Fatalf("%d findings contain %q:\n%s", len(verdicts), text, lines(found))
	}
	return verdicts[0]
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorExaminesSchedulers(t *testing.T) {
	m := &Machine{root: t.TempDir(), config: &config.Config{Clusters: []config.Cluster{
		{Name: "a", Scheduler: "wlc"}, {Name: "b", Scheduler: "twos"}, {Name: "c", Scheduler: "twos"}, {Name: "d", Scheduler: "rr"},
	}}}
	write(t, m.path("/proc/sys/kernel/osrelease"), "6.1\n")
	if found, err := lookAtSchedulers(t.Context(), m); err == nil {
		t.Errorf("without modules: %v", found)
	}
	write(t, m.path("/lib/modules/6.1/kernel/net/netfilter/ipvs/ip_vs_wlc.ko.xz"), "")
	write(t, m.path("/lib/modules/6.1/modules.builtin"), "kernel/net/netfilter/ipvs/ip_vs_rr.ko\n")
	found, err := lookAtSchedulers(t.Context(), m)
	found = merge(found)
	if err != nil || len(found) != 3 || verdict(t, found, "scheduler wlc (a)") != "good" ||
		verdict(t, found, "scheduler rr (d)") != "good" || verdict(t, found, "no scheduler twos (b, c)") != "bad" {
		t.Errorf("%v\n%s", err, lines(found))
	}
	m.config.Balancer.Control = "/run/lb/balancer.sock"
	if warnings := Unsupported(t.Context(), m); len(warnings) != 0 {
		t.Errorf("on a machine that is no balancer: %q", warnings)
	}
	write(t, m.path(m.config.Balancer.Control), "")
	if warnings := Unsupported(t.Context(), m); len(warnings) != 1 || !strings.Contains(warnings[0], "no scheduler twos (b, c)") {
		t.Errorf("%q", warnings)
	}
}

func TestDoctorFindsBroadcastAddresses(t *testing.T) {
	node := func(address string) config.Node { return config.Node{Address: netip.MustParseAddr(address)} }
	clusters := []config.Cluster{
		{Name: "a", Nodes: []config.Node{node("10.0.0.255"), node("10.0.0.1"), node("fd00::1")}},
		{Name: "b", Nodes: []config.Node{node("10.0.0.255"), node("10.0.1.255")}},
	}
	var local []netip.Prefix
	for _, p := range []string{"10.0.0.7/24", "192.0.2.1/32", "fd00::7/64"} {
		local = append(local, netip.MustParsePrefix(p))
	}
	found := merge(examineNodes(clusters, local))
	if len(found) != 1 || verdict(t, found, "10.0.0.255 is a broadcast address of this machine's network 10.0.0.0/24 (a, b)") != "bad" {
		t.Error(lines(found))
	}
}

func TestDoctorExaminesWhatLBBalanceReports(t *testing.T) {
	problem := api.Problem{Kind: "x", Text: "clients get nothing", Fix: "help them"}
	s := api.Status{Clusters: []api.ClusterStatus{
		{Name: "a", LastError: "busy", Problems: []api.Problem{problem}},
		{Name: "b", LastError: "busy", Problems: []api.Problem{problem}},
	}}
	found := merge(examineStatus(s))
	if len(found) != 3 || verdict(t, found, "clients get nothing (a, b)") != "bad" || verdict(t, found, "busy") != "bad" {
		t.Error(lines(found))
	}
	if found := examineStatus(api.Status{Clusters: []api.ClusterStatus{{Name: "a"}}}); verdict(t, found, "no error") != "good" {
		t.Error(lines(found))
	}
	if v := verdict(t, examineVersion(client.Balancer(), "v1", "v2"), "runs version v1, this is v2"); v != "bad" {
		t.Error(v)
	}
	if v := verdict(t, found, "reload was not refused"); v != "good" {
		t.Error(v)
	}
	refused := api.Status{Refused: &api.RefusedReload{Error: "lb.toml:3: no"}}
	if v := verdict(t, examineStatus(refused), "an older configuration is in effect: lb.toml:3: no"); v != "bad" {
		t.Error(v)
	}
}

func TestDoctorExaminesLimits(t *testing.T) {
	for fields, want := range map[string]string{"1024 524288 files": "bad", "4096 524288 files": "good", "unlimited files": "good"} {
		found, err := examineOpenFiles(client.Agent(), strings.Fields(fields), 2000)
		if err != nil || verdict(t, found, "lb agent may open") != want {
			t.Errorf("%s: %v, %s", fields, err, lines(found))
		}
	}
	if _, err := examineOpenFiles(client.Agent(), strings.Fields("many"), 2000); err == nil {
		t.Error("a limit that is no number is no error")
	}
	group := t.TempDir()
	write(t, group+"/cpu.max", "max 100000\n")
	write(t, group+"/memory.max", "max\n")
	if v := verdict(t, examineCgroup(group), "no cgroup limits"); v != "good" {
		t.Error(v)
	}
	write(t, group+"/cpu.max", "50000 100000\n")
	if v := verdict(t, examineCgroup(group), "CPUQuota limits"); v != "bad" {
		t.Error(v)
	}
}

func TestDoctorExaminesDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	look := func(want, text string) {
		t.Helper()
		if found, err := examineData(dir, "drains", client.Balancer()); err != nil || verdict(t, found, text) != want {
			t.Errorf("%v, %s", err, lines(found))
		}
	}
	look("bad", "does not exist")
	write(t, dir, "a file")
	look("bad", "is not a folder")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	look("good", "can store drains")
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // that is the case
		t.Fatal(err)
	}
	look("bad", "writable by everybody")
	for n, want := range map[string]string{"0": "good", "3": "bad"} {
		found, err := examineEvents([]byte("# HELP x\nlb_balancer_events_unwritten_total "+n+"\n"), dir)
		if err != nil || verdict(t, found, "events.log") != want {
			t.Errorf("%s: %v, %s", n, err, lines(found))
		}
	}
	if _, err := examineEvents(nil, dir); err == nil {
		t.Error("a page without the count is no error")
	}
}

func TestDoctorFindsOverridesWithoutEffect(t *testing.T) {
	m := &Machine{root: t.TempDir(), config: &config.Config{
		Clusters: []config.Cluster{{Name: "web"}}, Balancer: config.Balancer{OverrideDir: "/etc/lb"},
	}}
	look := func(want, text string) {
		t.Helper()
		found, err := lookAtOverrides(t.Context(), m)
		if err != nil || verdict(t, merge(found), text) != want {
			t.Errorf("%v\n%s", err, lines(found))
		}
	}
	look("good", "every up and down file")
	write(t, m.path("/etc/lb/down/web"), "")
	look("good", "every up and down file")
	write(t, m.path("/etc/lb/down/webb"), "")
	write(t, m.path("/etc/lb/down/db"), "")
	look("bad", "name no cluster (db, webb)")
	write(t, m.path("/etc/lb/up"), "no folder")
	look("bad", "up cannot be listed")
}

func TestDoctorExaminesClockAndUnits(t *testing.T) {
	if v := verdict(t, examineClock(unix.STA_UNSYNC|unix.STA_PLL), "clock"); v != "bad" {
		t.Error(v)
	}
	if v := verdict(t, examineClock(unix.STA_PLL), "clock"); v != "good" {
		t.Error(v)
	}
	for state, want := range map[string]string{"enabled": "good", "disabled": "bad", "masked": "bad", "not-found": "bad"} {
		if v := verdict(t, examineUnit(client.Agent(), state), "lb-agent.service"); v != want {
			t.Errorf("%s is %s", state, v)
		}
	}
}

func TestDoctorReadsWhatADaemonReportsToSystemd(t *testing.T) {
	for status, want := range map[string]int{
		"": 0, "2 services": 0, "running, and the kernel is up to date": 0, "2 services; the last reload was refused, see the log": 1,
		"2 services; the tunnel is not set up, see the log": 1, "the last reload was refused, see the log": 1,
	} {
		if found := examineUnitStatus(client.Agent(), status); len(found) != want {
			t.Errorf("%q: %s", status, lines(found))
		}
	}
}

func TestDoctorExaminesTunnelsFromOtherDataCentres(t *testing.T) {
	m := &Machine{root: t.TempDir()}
	for _, tt := range []struct{ all, own, want string }{
		{"0", "0", "good"}, {"1", "0", "bad"}, {"0", "1", "bad"}, {"1", "2", "good"}, {"2", "1", "good"},
	} {
		write(t, m.path("/proc/sys/net/ipv4/conf/all/rp_filter"), tt.all+"\n")
		write(t, m.path("/proc/sys/net/ipv4/conf/lo/rp_filter"), tt.own+"\n") // lo is an interface that is there and up
		f, err := m.examineRelay("lo", true)
		if v := verdict(t, []Finding{f}, "lo"); v != tt.want || err != nil {
			t.Errorf("all %s, own %s: %s, %v", tt.all, tt.own, v, err)
		}
	}
	if f, err := m.examineRelay("none77", true); err != nil || verdict(t, []Finding{f}, "does not exist") != "bad" {
		t.Errorf("%v, %v", f, err)
	}
}

// What depends on a daemon that is down is unknown in one finding, beside the one that says that it is down.
func TestADaemonThatIsDownIsOneFindingAndOneReason(t *testing.T) {
	dir := t.TempDir()
	m := &Machine{root: "/", roles: appNode, version: "v1", config: &config.Config{
		Agent:    config.Agent{Control: filepath.Join(dir, "none.sock"), DataDir: dir},
		Services: []config.Service{{Metrics: []config.Check{{Type: "cpu_load"}}}},
	}}
	found, err := Examine(t.Context(), m)
	if err == nil || verdict(t, found, "cannot reach lb agent") != "bad" ||
		verdict(t, found, "lb agent's limit of open files, lb agent's cgroup: lb agent does not answer") != "unknown" {
		t.Errorf("%v\n%s", err, lines(found))
	}
}

func TestDoctorAsksARunningAgent(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"version":"v1","services":[]}`)
	})}}
	s.Start()
	defer s.Close()
	m := &Machine{root: "/", roles: appNode, version: "v1", config: &config.Config{Agent: config.Agent{Control: socket, DataDir: dir}}}
	found, _ := Examine(t.Context(), m)
	if verdict(t, found, "lb agent runs, version v1") != "good" || strings.HasPrefix(verdict(t, found, "may open"), "unknown") {
		t.Error(lines(found))
	}
}

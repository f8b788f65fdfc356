package balancer

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/braintree/lb/config"
)

// faults lists the observed faults of big_brother 0.9.12 that lb does not copy, with the tests of what lb does instead, as in
// docs/bigbrother.md.
func faults() map[int][]string {
	return map[int][]string{
		// An invalid or missing config changes nothing.
		1: {"TestReloadGuard", "TestDaemonLifecycle", "TestABrokenFileChangesNothing"},
		// A node hangs; many nodes change at once.
		2: {"TestAHangingNodeDoesNotDelayOthers", "TestManyChangesShareAReconcile"},
		// The kernel rejects changes.
		3: {"TestKernelErrorsAreReportedAndRetried", "TestAStartOrStopThatTheKernelRejectsReturnsItsError"},
		// A negative health.
		4: {"TestHealthOfAResponse", "TestANegativeHealthIsWeightZero"},
		// Another port, mark or scheduler.
		5: {"TestReloadEditsInPlace", "TestReloadWithoutMarksKeepsTheOldService"},
		// The downpage is removed.
		6: {"TestDownpage", "TestDownpageKeepsItsConnectionsWhenANodeRecovers"},
		// Responses of other data centres.
		7: {"TestParseSite", "TestAReloadKeepsRemoteBalancers"},
		// The right node is active.
		8: {"TestActivePassive", "TestActivePassiveTiesAreBrokenByAddress"},
		// Ramp-up starts when a node recovers.
		9: {"TestNodeOverTime", "TestRestartKeepsWeightsAndRamps", "TestADrainSetsWeightZeroAndResumingRampsUp"},
		// The kernel's table at startup; reads without side effects.
		10: {"TestAdoptionKeepsWeightsUntilReadings", "TestAMarkThatAnotherProgramSetUp", "TestAReadChangesNothing"},
		// Stopped clusters do not change.
		11: {"TestReloadAddsAndRemovesClusters", "TestReloadOfStoppedClustersChangesNothing"},
		// lb runs send_nsca.
		12: {"TestNagiosResultsAreSent"},
	}
}

func TestEachFaultHasATest(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*_test.go", "*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	doc, err := os.ReadFile(filepath.Join("..", "docs", "bigbrother.md"))
	if err != nil {
		t.Fatal(err)
	}
	for number, tests := range faults() {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \|.*\| (.*) \|$`, number)).FindStringSubmatch(string(doc))
		if want := "`" + strings.Join(tests, "`, `") + "`"; row == nil || row[1] != want {
			t.Errorf("fault %d: docs/bigbrother.md has %q, want %s", number, row, want)
		}
		for _, name := range tests {
			if !strings.Contains(source.String(), "\nfunc "+name+"(t *testing.T) {") {
				t.Errorf("fault %d: no test %s", number, name)
			}
		}
	}
}

// TestAReadChangesNothing covers half of fault 10: in big_brother, GET /cluster/NAME started to watch what the kernel had.
func TestAReadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1))
		h := r.handler()
		before := len(r.tableWrites())
		for _, path := range []string{"/", "/cluster/web", "/cluster/web/status", "/cluster/web/status_detail", "/fwmark/7", "/events",
			"/metrics"} {
			roundTrip(h, "GET", path, "")
		}
		if n := len(r.tableWrites()) - before; n != 0 {
			t.Errorf("%d changes to the kernel's table: %v", n, r.tableWrites()[before:])
		}
	})
}

func TestReloadOfStoppedClustersChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1))
		before := len(r.tableWrites())
		if err := r.reload(webapp("web", 8, 1, 2), webapp("db", 9, 3)); err != nil {
			t.Fatal(err)
		}
		if n := len(r.tableWrites()) - before; n != 0 {
			t.Errorf("%d changes to the kernel's table: %v", n, r.tableWrites()[before:])
		}
	})
}

// tableWrites returns the calls of the kernel's table, without reads.
func (r *rig) tableWrites() []string {
	var changes []string
	for _, c := range r.table.Calls() {
		if c.Operation != "dump" {
			changes = append(changes, c.Operation+" "+c.Key.String())
		}
	}
	return changes
}

// TestABrokenFileChangesNothing covers fault 1 with files on disk: in big_brother, an invalid file deletes running clusters, and a file
// that is not YAML, or is missing, ends the program.
func TestABrokenFileChangesNothing(t *testing.T) {
	health, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	path := filepath.Join(t.TempDir(), "lb.toml")
	good := fmt.Sprintf("[balancer]\nlisten = \"127.0.0.1:0\"\ncontrol = %q\ndata_dir = %q\n[clusters.web]\nfwmark = 7\nautostart = true\n"+
		"vips = [ { address = \"204.109.13.7\", ports = [ 443 ] } ]\nnodes = [ { address = %q, port = %d } ]\n",
		cfg.Balancer.Control, cfg.Balancer.DataDir, node.Address, node.Port)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(good)
	o := options(cfg)
	o.Load = func() (*config.Config, error) { return config.Load(path, nil) }
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	b, _ := runDaemon(t, o)
	<-ready
	weight := func() string {
		_, body := request(t, b, "", "GET", "/cluster/web/status_detail")
		return body
	}
	want := fmt.Sprintf(`{"nodes":{"127.0.0.1":%d},"cluster":"web","running":true}`, health.Load())
	for name, text := range map[string]string{"invalid": good + "[clusters.db]\nfwmark = -1\n", "not TOML": "---\nclusters: [",
		"empty": "", "missing": ""} {
		write(text)
		if name == "missing" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if status, body := request(t, b, cfg.Balancer.Control, "POST", "/reload"); status != 409 {
			t.Errorf("%s: reload: %d %q, want 409", name, status, body)
		}
		if got := weight(); got != want {
			t.Errorf("%s: after the reload %s, want %s", name, got, want)
		}
	}
	write(good)
	if status, body := request(t, b, cfg.Balancer.Control, "POST", "/reload"); status != 200 {
		t.Errorf("reload of the good file: %d %q", status, body)
	}
}

// TestANegativeHealthIsWeightZero covers fault 4 from the agent's response to the kernel: in big_brother, the node keeps its old weight.
func TestANegativeHealthIsWeightZero(t *testing.T) {
	health, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	cfg.Clusters[0].Autostart = true
	b, _ := runDaemon(t, options(cfg))
	kernel := func(weight int) func() bool {
		return func() bool {
			_, body := request(t, b, "", "GET", "/cluster/web/status_detail")
			return body == fmt.Sprintf(`{"nodes":{"127.0.0.1":%d},"cluster":"web","running":true}`, weight)
		}
	}
	eventually(t, "weight 92", kernel(92))
	health.Store(-5)
	eventually(t, "weight 0", kernel(0))
}

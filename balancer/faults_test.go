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

// faults are those of big_brother 0.9.12 that were observed and are not copied, with the tests that show what lb does in their place, as
// docs/bigbrother.md has them.
func faults() map[int][]string {
	return map[int][]string{
		1:  {"TestReloadGuard", "TestDaemonLifecycle", "TestABrokenFileChangesNothing"},                       // a config with mistakes, or none, changes nothing that runs
		2:  {"TestAHangingNodeDoesNotDelayOthers", "TestManyChangesShareAReconcile"},                                      // a node that timesOut; many that change at once
		3:  {"TestKernelErrorsAreReportedAndRetried", "TestAStartOrStopThatTheKernelRejectsReturnsItsError"},                   // a kernel that refuses
		4:  {"TestHealthOfAResponse", "TestANegativeHealthIsWeightZero"},                                             // a negative health
		5:  {"TestReloadEditsInPlace", "TestReloadWithoutMarksKeepsTheOldService"},                                 // another port, mark or scheduler
		6:  {"TestDownpage", "TestDownpageKeepsItsConnectionsWhenANodeRecovers"},                                     // the downpage leaves
		7:  {"TestParseSite", "TestAReloadKeepsRemoteBalancers"},                                          // what other data centres answer
		8:  {"TestActivePassive", "TestActivePassiveTiesAreBrokenByAddress"},                                              // the active node is the right one
		9:  {"TestNodeOverTime", "TestRestartKeepsWeightsAndRamps", "TestADrainSetsWeightZeroAndResumingRampsUp"},   // ramp-up counts from when a node is back
		10: {"TestAdoptionKeepsWeightsUntilReadings", "TestAMarkThatAnotherProgramSetUp", "TestAReadChangesNothing"}, // what the kernel has at the start; reads without side effects
		11: {"TestReloadAddsAndRemovesClusters", "TestReloadOfStoppedClustersChangesNothing"},                      // stopped clusters stay untouched
		12: {"TestNagiosResultsAreSent"},                                                                           // send_nsca is run
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
			t.Errorf("fault %d: docs/bigbrother.md has %q, not %s", number, row, want)
		}
		for _, name := range tests {
			if !strings.Contains(source.String(), "\nfunc "+name+"(t *testing.T) {") {
				t.Errorf("fault %d: there is no %s", number, name)
			}
		}
	}
}

// TestAReadChangesNothing is half of fault 10: there, GET /cluster/NAME started to watch what the kernel had.
func TestAReadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1))
		h := r.handler()
		before := len(r.tableWrites())
		for _, path := range []string{"/", "/cluster/web", "/cluster/web/status", "/cluster/web/status_detail", "/fwmark/7", "/events", "/metrics"} {
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

// changes gives what was asked of the kernel's table but for reads.
func (r *rig) tableWrites() []string {
	var changes []string
	for _, c := range r.table.Calls() {
		if c.Operation != "dump" {
			changes = append(changes, c.Operation+" "+c.Key.String())
		}
	}
	return changes
}

// TestABrokenFileChangesNothing is fault 1 with files as they lie on the disk: there, one that is invalid deletes what runs, and one
// that is no YAML, or gone, ends the program.
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
	for name, text := range map[string]string{"invalid": good + "[clusters.db]\nfwmark = -1\n", "no TOML": "---\nclusters: [", "empty": "", "gone": ""} {
		write(text)
		if name == "gone" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if status, body := request(t, b, cfg.Balancer.Control, "POST", "/reload"); status != 409 {
			t.Errorf("%s: reload gave %d %q", name, status, body)
		}
		if got := weight(); got != want {
			t.Errorf("%s: afterwards %s, want %s", name, got, want)
		}
	}
	write(good)
	if status, body := request(t, b, cfg.Balancer.Control, "POST", "/reload"); status != 200 {
		t.Errorf("the good file again: %d %q", status, body)
	}
}

// TestANegativeHealthIsWeightZero is fault 4 from the answer to the kernel: there, the node stays at its old weight.
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

package balancer

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
)

// faults are those of big_brother 0.9.12 that were observed and are not copied, with the tests that show what lb does in their place, as
// docs/bigbrother.md has them.
func faults() map[int][]string {
	return map[int][]string{
		1:  {"TestReloadGuard", "TestDaemonFromStartToEnd"},                                                         // a config with mistakes, or none, changes nothing that runs
		2:  {"TestAHangingNodeCostsOnlyItself", "TestManyChangesShareACycle"},                                       // a node that hangs; many that change at once
		3:  {"TestKernelErrorsAreShownAndRetried", "TestAStartOrStopThatTheKernelRefusesSaysSo"},                    // a kernel that refuses
		4:  {"TestHealthOfAnAnswer"},                                                                                // a negative health
		5:  {"TestReloadEditsInPlace", "TestReloadWithoutMarksKeepsTheOldService"},                                  // another port, mark or scheduler
		6:  {"TestDownpage"},                                                                                        // the downpage leaves
		7:  {"TestPagesOfOtherDataCentres", "TestAReloadKeepsWhatOtherDataCentresList"},                             // what other data centres answer
		8:  {"TestActivePassive", "TestActivePassiveTiesGoByAddress"},                                               // the active node is the right one
		9:  {"TestNodeThroughTime", "TestRestartKeepsWeightsAndRamps", "TestADrainTakesANodeOutAndItsEndRampsItUp"}, // ramp-up counts from when a node is back
		10: {"TestAdoptionKeepsWeightsUntilReadings", "TestAMarkThatSomebodyElseSetUp", "TestAReadChangesNothing"},  // what the kernel has at the start; reads without side effects
		11: {"TestReloadAddsAndRemovesClusters", "TestReloadOfStoppedClustersTouchesNothing"},                       // stopped clusters stay untouched
		12: {"TestNagiosResultsAreSent"},                                                                            // send_nsca is run
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
		b := newBench(t)
		b.boot(webapp("web", 7, 1))
		h := b.handler()
		before := len(b.changes())
		for _, path := range []string{"/", "/cluster/web", "/cluster/web/status", "/cluster/web/status_detail", "/fwmark/7", "/events", "/metrics"} {
			ask(h, "GET", path, "")
		}
		if n := len(b.changes()) - before; n != 0 {
			t.Errorf("%d changes to the kernel's table: %v", n, b.changes()[before:])
		}
	})
}

func TestReloadOfStoppedClustersTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.boot(webapp("web", 7, 1))
		before := len(b.changes())
		if err := b.reload(webapp("web", 8, 1, 2), webapp("db", 9, 3)); err != nil {
			t.Fatal(err)
		}
		if n := len(b.changes()) - before; n != 0 {
			t.Errorf("%d changes to the kernel's table: %v", n, b.changes()[before:])
		}
	})
}

// changes gives what was asked of the kernel's table but for reads.
func (b *bench) changes() []string {
	var changes []string
	for _, c := range b.table.Calls() {
		if c.Operation != "dump" {
			changes = append(changes, c.Operation+" "+c.Key.String())
		}
	}
	return changes
}

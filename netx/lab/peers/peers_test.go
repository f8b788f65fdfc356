//go:build bench

// Package peers compares lb with keepalived and ldirectord: the cost of watching real servers, the reaction time, and the cost of restarts.
// scripts/bench peers runs it on a kernel with IPVS; docs/performance.md has the results.
package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

const (
	timeout     = 3 * time.Minute
	settleTime  = 5 * time.Second  // from the last real server's first weight to the measurement
	measureTime = 15 * time.Second // duration of the measurement
	reactions   = 21               // how often a real server fails, one after the other
	// pollInterval is how often the kernel's table is read while waiting for a reaction.
	pollInterval = 5 * time.Millisecond
	// fastInterval is the interval at which keepalived should react as fast as streams do.
	fastInterval = 10 * time.Millisecond
)

// testRig is a load balancer, and a host with all real servers.
type testRig struct {
	load  *lab.Host
	farm  *agentFarm
	table ipvs.Table
}

func newTestRig(t *testing.T) *testRig {
	t.Helper()
	l, err := lab.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	sw := labtest.Switch(t, l, "private")
	g := &testRig{load: labtest.Host(t, l, sw, "load01", "10.0.0.254/24")}
	g.farm = startFarm(t, labtest.Host(t, l, sw, "farm", "10.0.0.1/24"))
	if err := g.load.Route(netip.MustParsePrefix(farmNet), netip.MustParseAddr("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	g.table = openTable(t, g.load)
	return g
}

// weights returns the weight of every real server in the kernel's table.
func (g *testRig) weights(t *testing.T) map[netip.Addr]int {
	t.Helper()
	services, err := g.table.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	now := map[netip.Addr]int{}
	for _, s := range services {
		for _, d := range s.Destinations {
			now[d.Address] = int(d.Weight)
		}
	}
	return now
}

// waitForAll waits until every real server has its weight.
func (g *testRig) waitForAll(t *testing.T, nodes int) {
	t.Helper()
	labtest.Eventually(t, timeout, fmt.Sprintf("%d real servers in the kernel", nodes), func() (bool, string) {
		up := 0
		for _, w := range g.weights(t) {
			if w == 100 {
				up++
			}
		}
		return up == nodes, fmt.Sprint(up)
	})
}

// figures are the measurements of one program.
type figures struct {
	processor float64 // fraction of a core
	checks    float64 // per second
	resident  int     // bytes
}

// perCheck returns the processor time per check.
func (f figures) perCheck() time.Duration {
	if f.checks == 0 {
		return 0
	}
	return time.Duration(f.processor / f.checks * float64(time.Second))
}

// measure runs a program for a while without any change of health.
func (g *testRig) measure(t *testing.T, w watcher, nodes int, interval time.Duration) figures {
	t.Helper()
	p := w.start(t, g.load, farmServices(nodes), interval)
	defer g.stop(t, p)
	g.waitForAll(t, nodes)
	<-time.After(settleTime)
	before, answered, begun := usageOf(t, p), g.farm.responses.Load(), time.Now()
	<-time.After(measureTime)
	after, checks, took := usageOf(t, p), g.farm.responses.Load()-answered, time.Since(begun)
	return figures{
		processor: float64(after.processor-before.processor) / float64(took),
		checks:    float64(checks) / took.Seconds(), resident: after.resident,
	}
}

// stop stops a program and clears the kernel's table.
func (g *testRig) stop(t *testing.T, p *lab.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if _, err := g.load.Run(ctx, "ipvsadm", "-C"); err != nil {
		t.Error(err)
	}
}

// measureReaction returns the sorted times from a real server's failure to its weight of 0 in the kernel.
func (g *testRig) measureReaction(t *testing.T, w watcher, nodes int, interval time.Duration) []time.Duration {
	t.Helper()
	p := w.start(t, g.load, farmServices(nodes), interval)
	defer g.stop(t, p)
	g.waitForAll(t, nodes)
	page, err := os.Open(fmt.Sprintf("/proc/%d/net/ip_vs", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	var took []time.Duration
	for n := range reactions {
		node := nodeAddress(n * nodes / reactions)
		<-time.After(interval * time.Duration(n) / reactions) // at a different phase of the interval each time
		begun := time.Now()
		g.farm.setUp(node, false)
		for readWeight(t, page, node) != 0 {
			if time.Since(begun) > timeout {
				t.Fatalf("%s: %s still has weight after %s", w.name, node, timeout)
			}
			<-time.After(pollInterval)
		}
		took = append(took, time.Since(begun))
		g.farm.setUp(node, true)
		g.waitForAll(t, nodes)
	}
	slices.Sort(took)
	return took
}

// readWeight returns a real server's weight from /proc/net/ip_vs. Reading that costs far less than a dump by netlink, and so disturbs the
// program being measured less. A real server's line is "  -> 0A400001:0000 Tunnel 100 0 0", with its address in hexadecimal.
func readWeight(t *testing.T, table *os.File, node netip.Addr) int {
	t.Helper()
	text := make([]byte, 64<<10)
	n, err := table.ReadAt(text, 0)
	if !errors.Is(err, io.EOF) {
		t.Fatalf("%d bytes of the kernel's table: %v", n, err)
	}
	_, after, found := strings.Cut(string(text[:n]), fmt.Sprintf("-> %X:", node.AsSlice()))
	fields := strings.Fields(after)
	if !found || len(fields) < 3 {
		t.Fatalf("%s is not in the kernel's table", node)
	}
	weight, err := strconv.Atoi(fields[2])
	if err != nil {
		t.Fatal(err)
	}
	return weight
}

// TestWatchCost prints the cost of watching 100, 500 and 2000 real servers, each once per second.
func TestWatchCost(t *testing.T) {
	g := newTestRig(t)
	r := newReport(t)
	for _, nodes := range []int{100, 500, 2000} {
		r.line("%d real servers, measured for %s after %s to settle, interval 1s", nodes, measureTime, settleTime)
		var keepalived figures
		for i, w := range watchers {
			f := g.measure(t, w, nodes, time.Second)
			if i == 0 {
				keepalived = f
			}
			r.line("  %-12s %6.2f %% of a core, %7.1f checks/s, %8s per check, %5.1f MiB resident   "+
				"ratios to keepalived: processor %s, per check %s, memory %s",
				w.name, 100*f.processor, f.checks, f.perCheck().Round(time.Microsecond), float64(f.resident)/(1<<20),
				ratio(f.processor, keepalived.processor), ratio(float64(f.perCheck()), float64(keepalived.perCheck())),
				ratio(float64(f.resident), float64(keepalived.resident)))
		}
	}
}

// TestReactionTime prints how soon a failure is in the kernel, and what streams cost compared to keepalived at an interval that should make
// it react as fast: with few real servers, which it can check that often, and with many.
func TestReactionTime(t *testing.T) {
	g := newTestRig(t)
	r := newReport(t)
	for _, nodes := range []int{10, 100} {
		r.line("%d real servers; from a real server's failure to its weight of 0 in the kernel, %d times, read every %s",
			nodes, reactions, pollInterval)
		reaction := func(w watcher, interval time.Duration) string {
			took := g.measureReaction(t, w, nodes, interval)
			return fmt.Sprintf("  %-12s interval %-7s median %8s, minimum %8s, maximum %8s",
				w.name, interval, took[len(took)/2].Round(100*time.Microsecond),
				took[0].Round(100*time.Microsecond), took[len(took)-1].Round(100*time.Microsecond))
		}
		for _, w := range watchers {
			r.line("%s", reaction(w, time.Second))
		}
		keepalived, streams := watchers[0], watchers[2]
		line := reaction(keepalived, fastInterval)
		f := g.measure(t, keepalived, nodes, fastInterval)
		r.line("%s   %6.2f %% of a core, %.0f of %.0f checks/s",
			line, 100*f.processor, f.checks, float64(nodes)/fastInterval.Seconds())
		of := g.measure(t, streams, nodes, time.Second)
		r.line("  %-12s interval 1s      %6.2f %% of a core when idle: %s of that",
			streams.name, 100*of.processor, ratio(of.processor, f.processor))
	}
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", a/b)
}

// report prints the figures and writes them to peers.txt in the directory that the lab brings back.
type report struct {
	t    *testing.T
	file *os.File
}

func newReport(t *testing.T) *report {
	t.Helper()
	r := &report{t: t}
	file, err := os.OpenFile(filepath.Join(os.Getenv("LAB_OUT"), "peers.txt"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	r.file = file
	return r
}

func (r *report) line(format string, args ...any) {
	r.t.Helper()
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	fmt.Println(text)
	if _, err := fmt.Fprintln(r.file, text); err != nil {
		r.t.Error(err)
	}
}

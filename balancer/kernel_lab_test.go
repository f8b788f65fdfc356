//go:build lab

package balancer

import (
	"context"
	"log/slog"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// realBench is an engine on the kernel's own tables.
type realBench struct {
	*bench
	table *ipvs.Kernel
	marks *mark.Kernel
	web   config.Cluster
}

// newRealBench enters a network namespace of the test's own and opens its tables.
func newRealBench(t *testing.T) *realBench {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test and takes the namespace along
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	tool(t, "ip link set lo up") // else the kernel takes every destination for a broadcast address
	b := &realBench{bench: newBench(t), web: webapp("web", 7, 1, 2)}
	b.web.CheckInterval, b.web.CheckTimeout = 100*time.Millisecond, 50*time.Millisecond
	var err error
	if b.table, err = ipvs.NewKernel(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.table.Close() })
	if b.marks, err = mark.NewKernel(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.marks.Close() })
	return b
}

// run starts an engine, as the daemon does.
func (b *realBench) run() (e *engine, kill func()) {
	e = newEngine(Options{Table: b.table, Marks: b.marks, NewPoller: b.fleet.poller, Log: slog.New(slog.NewTextHandler(b.log, nil))})
	if err := e.drains.open(b.dir); err != nil {
		b.t.Fatal(err)
	}
	e.configure(&config.Config{Clusters: []config.Cluster{b.web}})
	ctx, cancel := context.WithCancel(b.t.Context())
	go e.run(ctx)
	return e, func() { cancel(); <-e.done }
}

// has waits until ipvsadm shows these lines and no others.
func (b *realBench) has(lines ...string) {
	b.t.Helper()
	last, want := "", sortedLines(strings.Join(lines, "\n"))
	defer func() {
		if last != want {
			b.t.Logf("ipvsadm has\n%s\nthe log:\n%s", last, b.log)
		}
	}()
	eventually(b.t, want, func() bool {
		last = sortedLines(tool(b.t, "ipvsadm -Sn"))
		return last == want
	})
}

// TestOnTheKernel takes the engine through its life on real tables; ipvsadm and nft say what is there.
func TestOnTheKernel(t *testing.T) {
	b := newRealBench(t)
	b.fleet.set("10.0.0.1", 92)
	b.fleet.set("10.0.0.2", 40)
	const foreign = "-A -f 9 -s rr\n-a -f 9 -r 10.0.0.9:0 -i -w 3"
	tool(t, "ipvsadm -A -f 9 -s rr")
	tool(t, "ipvsadm -a -f 9 -r 10.0.0.9 -i -w 3")

	e, kill := b.run()
	if changed, err := e.Start(t.Context(), "web", "test"); !changed || err != nil {
		t.Fatalf("start: %v, %v", changed, err)
	}
	b.has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	if rules := tool(t, "nft list table inet lb"); !strings.Contains(rules, "204.109.13.7") || !strings.Contains(rules, "0x00000007") {
		t.Errorf("nft has\n%s", rules)
	}
	for _, hand := range []string{"-e -f 7 -r 10.0.0.2 -i -w 5", "-d -f 7 -r 10.0.0.1", "-E -f 7 -s rr", "-e -f 7 -r 10.0.0.2 -g -w 40", "-D -f 7"} {
		tool(t, "ipvsadm "+hand)
		b.has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	}
	b.wantLog("drift repaired", "weight 5 → 40", "forwarding route → tunnel")

	kill()
	b.has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	e, kill = b.run()
	defer kill()
	b.fleet.set("10.0.0.2", 0)
	b.has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 0", foreign)
	b.wantLog("cluster adopted")

	b.web.Mark, b.web.Scheduler = 70, "wrr"
	if err := e.Reload(t.Context(), &config.Config{Clusters: []config.Cluster{b.web}}, false); err != nil {
		t.Fatal(err)
	}
	b.has(foreign, "-A -f 70 -s wrr", "-a -f 70 -r 10.0.0.1:0 -i -w 92", "-a -f 70 -r 10.0.0.2:0 -i -w 0")
	if changed, err := e.Stop(t.Context(), "web", "test"); !changed || err != nil {
		t.Errorf("stop: %v, %v", changed, err)
	}
	b.has(foreign)
}

// tool runs a program in the test's namespace and gives what it prints.
func tool(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// sortedLines makes two listings comparable: the kernel's order is that of a hash table.
func sortedLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(strings.TrimSpace(lines[i]), " --tun-type ipip") // some versions of ipvsadm say it
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

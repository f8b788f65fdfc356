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

// TestOnTheKernel takes the engine through its life on real tables, in a network namespace of its own; ipvsadm and nft say what is there.
func TestOnTheKernel(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test and takes the namespace along
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	tool(t, "ip link set lo up") // else the kernel takes every destination for a broadcast address
	table, err := ipvs.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	marks, err := mark.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer marks.Close()

	b := newBench(t)
	b.fleet.set("10.0.0.1", 92)
	b.fleet.set("10.0.0.2", 40)
	web := webapp("web", 7, 1, 2)
	web.CheckInterval, web.CheckTimeout = 100*time.Millisecond, 50*time.Millisecond
	run := func() (*engine, func()) {
		e := newEngine(Options{Table: table, Marks: marks, NewPoller: b.fleet.poller, Log: slog.New(slog.NewTextHandler(b.log, nil))})
		e.configure(&config.Config{Clusters: []config.Cluster{web}})
		ctx, cancel := context.WithCancel(t.Context())
		go e.run(ctx)
		return e, func() { cancel(); <-e.done }
	}
	last := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ipvsadm has\n%s\nthe log:\n%s", last, b.log)
		}
	})
	has := func(lines ...string) {
		t.Helper()
		want := sortedLines(strings.Join(lines, "\n"))
		eventually(t, want, func() bool {
			last = sortedLines(tool(t, "ipvsadm -Sn"))
			return last == want
		})
	}
	const foreign = "-A -f 9 -s rr\n-a -f 9 -r 10.0.0.9:0 -i -w 3"
	tool(t, "ipvsadm -A -f 9 -s rr")
	tool(t, "ipvsadm -a -f 9 -r 10.0.0.9 -i -w 3")

	e, kill := run()
	if changed, err := e.Start(t.Context(), "web", "test"); !changed || err != nil {
		t.Fatalf("start: %v, %v", changed, err)
	}
	has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	if rules := tool(t, "nft list table inet lb"); !strings.Contains(rules, "204.109.13.7") || !strings.Contains(rules, "0x00000007") {
		t.Errorf("nft has\n%s", rules)
	}
	for _, hand := range []string{"ipvsadm -e -f 7 -r 10.0.0.2 -i -w 5", "ipvsadm -d -f 7 -r 10.0.0.1", "ipvsadm -E -f 7 -s rr", "ipvsadm -e -f 7 -r 10.0.0.2 -g -w 40", "ipvsadm -D -f 7"} {
		tool(t, hand)
		has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	}
	b.wantLog("drift repaired", "weight 5 → 40", "forwarding route → tunnel")

	kill()
	has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	e, kill = run()
	defer func() { kill() }()
	b.fleet.set("10.0.0.2", 0)
	has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 0", foreign)
	b.wantLog("cluster adopted")

	web.Mark, web.Scheduler = 70, "wrr"
	if err := e.Reload(t.Context(), &config.Config{Clusters: []config.Cluster{web}}); err != nil {
		t.Fatal(err)
	}
	has(foreign, "-A -f 70 -s wrr", "-a -f 70 -r 10.0.0.1:0 -i -w 92", "-a -f 70 -r 10.0.0.2:0 -i -w 0")
	if changed, err := e.Stop(t.Context(), "web", "test"); !changed || err != nil {
		t.Errorf("stop: %v, %v", changed, err)
	}
	has(foreign)
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

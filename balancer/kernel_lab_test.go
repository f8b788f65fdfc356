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

// kernelRig is a rig on the kernel's tables.
type kernelRig struct {
	*rig
	table *ipvs.Kernel
	marks *mark.Kernel
	web   config.Cluster
}

// newKernelRig enters a new network namespace and opens its tables.
func newKernelRig(t *testing.T) *kernelRig {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	runTool(t, "ip link set lo up") // otherwise the kernel takes every destination for a broadcast address
	r := &kernelRig{rig: newRig(t), web: webapp("web", 7, 1, 2)}
	r.web.CheckInterval, r.web.CheckTimeout = 100*time.Millisecond, 50*time.Millisecond
	var err error
	if r.table, err = ipvs.NewKernel(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.table.Close() })
	if r.marks, err = mark.NewKernel(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.marks.Close() })
	return r
}

// run starts an engine, as the daemon does.
func (r *kernelRig) run() (e *engine, kill func()) {
	e = newEngine(Options{Table: r.table, Marks: r.marks, NewPoller: r.fleet.poller, Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err := e.drains.open(r.dir); err != nil {
		r.t.Fatal(err)
	}
	e.configure(&config.Config{Clusters: []config.Cluster{r.web}})
	ctx, cancel := context.WithCancel(r.t.Context())
	go e.run(ctx)
	return e, func() { cancel(); <-e.done }
}

// wantIPVSAdm waits until ipvsadm shows exactly these lines.
func (r *kernelRig) wantIPVSAdm(lines ...string) {
	r.t.Helper()
	last, want := "", sortedLines(strings.Join(lines, "\n"))
	defer func() {
		if last != want {
			r.t.Logf("ipvsadm has\n%s\nthe log:\n%s", last, r.log)
		}
	}()
	eventually(r.t, want, func() bool {
		last = sortedLines(runTool(r.t, "ipvsadm -Sn"))
		return last == want
	})
}

// TestEngineOnTheKernel starts, changes, adopts, reloads and stops a cluster on the kernel's tables. ipvsadm and nft show them.
func TestEngineOnTheKernel(t *testing.T) {
	r := newKernelRig(t)
	r.fleet.set("10.0.0.1", 92)
	r.fleet.set("10.0.0.2", 40)
	const foreign = "-A -f 9 -s rr\n-a -f 9 -r 10.0.0.9:0 -i -w 3"
	runTool(t, "ipvsadm -A -f 9 -s rr")
	runTool(t, "ipvsadm -a -f 9 -r 10.0.0.9 -i -w 3")

	e, kill := r.run()
	if changed, err := e.Start(t.Context(), "web", "test"); !changed || err != nil {
		t.Fatalf("start: %v, %v", changed, err)
	}
	r.wantIPVSAdm("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	if rules := runTool(t, "nft list table inet lb"); !strings.Contains(rules, "204.109.13.7") || !strings.Contains(rules, "0x00000007") {
		t.Errorf("nft has\n%s", rules)
	}
	for _, change := range []string{"-e -f 7 -r 10.0.0.2 -i -w 5", "-d -f 7 -r 10.0.0.1", "-E -f 7 -s rr", "-e -f 7 -r 10.0.0.2 -g -w 40",
		"-D -f 7"} {
		runTool(t, "ipvsadm "+change)
		r.wantIPVSAdm("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	}
	r.wantLog("drift repaired", "weight 5 → 40", "forwarding route → tunnel")

	kill()
	r.wantIPVSAdm("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 40", foreign)
	e, kill = r.run()
	defer kill()
	r.fleet.set("10.0.0.2", 0)
	r.wantIPVSAdm("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w 92", "-a -f 7 -r 10.0.0.2:0 -i -w 0", foreign)
	r.wantLog("cluster adopted")

	r.web.Mark, r.web.Scheduler = 70, "wrr"
	if err := e.Reload(t.Context(), &config.Config{Clusters: []config.Cluster{r.web}}, false); err != nil {
		t.Fatal(err)
	}
	r.wantIPVSAdm(foreign, "-A -f 70 -s wrr", "-a -f 70 -r 10.0.0.1:0 -i -w 92", "-a -f 70 -r 10.0.0.2:0 -i -w 0")
	if changed, err := e.Stop(t.Context(), "web", "test"); !changed || err != nil {
		t.Errorf("stop: %v, %v", changed, err)
	}
	r.wantIPVSAdm(foreign)
}

// runTool runs a program in the test's namespace and returns its output.
func runTool(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// sortedLines makes two listings comparable: the kernel lists services in the order of a hash table.
func sortedLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(strings.TrimSpace(lines[i]), " --tun-type ipip") // some versions of ipvsadm print it
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

//go:build soak

// Package soak runs a whole agent for a long time on checks that behave as badly as they can, and measures what it leaves behind.
//
//	go test -tags soak -run TestSoak -v -timeout 30m ./agent/soak              60 seconds
//	LB_SOAK=10m go test -tags soak -run TestSoak -v -timeout 30m ./agent/soak  as long as you like
package soak

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/agent"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
)

const (
	usual    = time.Minute     // how long it takes without LB_SOAK
	settling = 5 * time.Second // until everything is under way; then also how long the last remains may take to go
	patience = 20 * time.Second

	// slack is how much older than its interval a good check's result may be. It is there for the machine, which has other
	// things to do as well; the agent gives a result up after three intervals.
	slack = time.Second

	reloadInterval = 3 * time.Second
	moreHeap       = 2 << 20 // bytes that may be in use at the end beside what was in use before: what packages keep once used
)

// mark is what every process that a check starts has in its environment, and hands on to its children.
const mark = "LB_SOAK_MARK"

func TestSoak(t *testing.T) {
	for _, tool := range []string{"setsid", "yes", "head", "sleep"} {
		if !installed(tool) {
			t.Fatalf("%s is missing: install what Debian has in coreutils and util-linux", tool)
		}
	}
	t.Setenv(mark, fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()))
	long := duration(t)

	before := look(t)
	w := newWorld(t)
	run := w.start(t)
	wait(settling)
	s := &survey{t: t, url: "http://" + run.addr, expect: w.services()}
	s.watch(long)
	busy := look(t)
	run.stop(t)
	w.close()
	after := remains(t, before)

	t.Logf("%s of %d checks in %d services, %d of them bad; %d reloads", long, w.checks(), len(w.services()), w.badChecks(), run.reloads.Load())
	for _, line := range s.summary() {
		t.Log(line)
	}
	t.Logf("%-8s %s", "before", before)
	t.Logf("%-8s %s", "busy", busy)
	t.Logf("%-8s %s", "after", after)
	s.judge()
	judge(t, before, after)
	if run.reloads.Load() < int64(long/reloadInterval)/2 {
		t.Errorf("only %d reloads", run.reloads.Load())
	}
}

// duration is what LB_SOAK asks for.
func duration(t *testing.T) time.Duration {
	t.Helper()
	asked := os.Getenv("LB_SOAK")
	if asked == "" {
		return usual
	}
	d, err := time.ParseDuration(asked)
	if err != nil || d < 10*time.Second {
		t.Fatalf("LB_SOAK=%s is no time of at least 10s: give one such as 10m", asked)
	}
	return d
}

// wait is for what has no event to wait for.
func wait(d time.Duration) { <-time.After(d) }

// judge holds what is left against what was there before.
func judge(t *testing.T, before, after figures) {
	t.Helper()
	if after.goroutines > before.goroutines {
		t.Errorf("%d goroutines are left over:\n%s", after.goroutines-before.goroutines, stacks())
	}
	if added := slices.DeleteFunc(slices.Clone(after.descriptors), func(d string) bool { return slices.Contains(before.descriptors, d) }); len(after.descriptors) > len(before.descriptors) {
		t.Errorf("%d descriptors are left over, among %v", len(after.descriptors)-len(before.descriptors), added)
	}
	if len(after.processes) > 0 {
		t.Errorf("processes are left over: %v", after.processes)
	}
	if after.heap > before.heap+moreHeap {
		t.Errorf("%d KiB more are in use than before, at most %d are expected", (after.heap-before.heap)>>10, moreHeap>>10)
	}
}

// remains looks again and again until nothing more than before is there, or patience is over: what was just killed takes a
// moment to go.
func remains(t *testing.T, before figures) figures {
	t.Helper()
	for end := time.Now().Add(patience); ; wait(settling / 20) {
		f := look(t)
		gone := f.goroutines <= before.goroutines && len(f.descriptors) <= len(before.descriptors) && len(f.processes) == 0
		if gone || time.Now().After(end) {
			return f
		}
	}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// running is an agent at work.
type running struct {
	addr    string
	reloads atomic.Int64
	cancel  context.CancelFunc
	ended   chan error
	toldoff chan struct{} // closed when nobody asks for reloads any more
}

// start runs an agent on the world's configuration, and has it read every few seconds: one service comes and goes with that.
func (w *world) start(t *testing.T) *running {
	t.Helper()
	r := &running{ended: make(chan error, 1), toldoff: make(chan struct{})}
	dir := t.TempDir()
	reload, ready := make(chan struct{}, 1), make(chan struct{})
	log := &firstLines{}
	a, err := agent.New(t.Context(), agent.Options{
		Load: func() (*config.Config, error) {
			path := filepath.Join(dir, "lb.toml")
			if err := os.WriteFile(path, []byte(w.config(dir, r.reloads.Add(1)%2 == 0)), 0o600); err != nil {
				return nil, err
			}
			return config.Load(path, check.Validate)
		},
		Reload: reload, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})),
		Version: "soak", Ready: func() { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.addr = a.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- a.Run(ctx) }()
	select {
	case <-ready:
	case err := <-r.ended:
		t.Fatal(err)
	}
	go func() {
		defer close(r.toldoff)
		ticker := time.NewTicker(reloadInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				select {
				case reload <- struct{}{}:
				default: // the last one is still going on
				}
			}
		}
	}()
	t.Cleanup(func() {
		if log.text.Len() > 0 {
			t.Errorf("the agent complains:\n%s", log.text.String())
		}
	})
	return r
}

// stop ends the agent and waits for it.
func (r *running) stop(t *testing.T) {
	t.Helper()
	begun := time.Now()
	r.cancel()
	<-r.toldoff
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	t.Logf("it stopped within %s", time.Since(begun).Round(time.Millisecond))
}

// firstLines keeps the beginning of a log.
type firstLines struct{ text bytes.Buffer }

func (f *firstLines) Write(p []byte) (int, error) {
	if f.text.Len() < 1<<14 {
		f.text.Write(p)
	}
	return len(p), nil
}

// services are what is expected of each: true for health above 0.
func (w *world) services() map[string]bool {
	expect := map[string]bool{}
	for _, s := range w.list {
		expect[s.name] = s.good
	}
	return expect
}

func (w *world) checks() (n int) {
	for _, s := range w.list {
		n += len(s.depends) + len(s.metrics)
	}
	return n
}

func (w *world) badChecks() (n int) {
	for _, s := range w.list {
		if !s.good {
			n += len(s.depends) + len(s.metrics)
		}
	}
	return n
}

// config is the world as the agent reads it; the service "now_and_then" is only there when asked for.
func (w *world) config(dir string, nowAndThen bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[agent]\nlisten = %q\ncontrol = %q\ndata_dir = %q\n", "127.0.0.1:0", filepath.Join(dir, "agent.sock"), filepath.Join(dir, "data"))
	for _, s := range w.list {
		s.write(&b)
	}
	if nowAndThen {
		bad := w.list[slices.IndexFunc(w.list, func(s service) bool { return !s.good })]
		bad.name = "now_and_then"
		bad.write(&b)
	}
	return b.String()
}

// figures are what the machine says about this process and those that it started.
type figures struct {
	goroutines  int
	descriptors []string
	processes   []string
	heap        uint64 // bytes in use after a collection
	resident    uint64 // bytes
}

func (f figures) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d processes, %.1f MiB of heap, %.1f MiB resident",
		f.goroutines, len(f.descriptors), len(f.processes), float64(f.heap)/(1<<20), float64(f.resident)/(1<<20))
}

// look takes the figures.
func look(t *testing.T) figures {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first one may only have found what finalizers still hold
	runtime.ReadMemStats(&m)
	f := figures{goroutines: runtime.NumGoroutine(), heap: m.HeapAlloc}
	f.descriptors = descriptors(t)
	f.processes = slices.Sorted(maps.Values(processes(t)))
	f.resident = resident(t)
	return f
}

// loopback opens a port that only this machine reaches.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

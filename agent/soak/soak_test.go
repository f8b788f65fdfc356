//go:build soak

// Package soak runs an agent for a long time with checks that misbehave in every way, and looks for leaks.
//
//	go test -tags soak -run TestSoak -v -timeout 30m ./agent/soak              60 seconds
//	LB_SOAK=10m go test -tags soak -run TestSoak -v -timeout 30m ./agent/soak  10 minutes
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
	defaultDuration = time.Minute     // without LB_SOAK
	warmUp          = 5 * time.Second // until everything runs
	patience        = 20 * time.Second

	// slack is how much older than its interval the result of a good check may be, because the machine is
	// busy. For the agent a result is valid for three intervals.
	slack = time.Second

	reloadInterval = 3 * time.Second
	heapAllowance  = 2 << 20 // bytes by which the heap may have grown at the end: packages keep some memory once used
)

// mark is an environment variable that all processes of checks inherit.
const mark = "LB_SOAK_MARK"

func TestSoak(t *testing.T) {
	for _, tool := range []string{"setsid", "yes", "head", "sleep"} {
		if !installed(tool) {
			t.Fatalf("%s is missing: install coreutils and util-linux", tool)
		}
	}
	t.Setenv(mark, fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()))
	d := duration(t)

	before := measure(t)
	bed := newTestbed(t)
	run := bed.start(t)
	wait(warmUp)
	o := &observer{t: t, url: "http://" + run.addr, expect: bed.services()}
	o.observe(d)
	busy := measure(t)
	run.stop(t)
	bed.close()
	after := measureAfter(t, before)

	t.Logf("%s of %d checks in %d services, %d of them bad; %d reloads", d, bed.checks(), len(bed.services()), bed.badChecks(),
		run.reloads.Load())
	for _, line := range o.summary() {
		t.Log(line)
	}
	t.Logf("%-8s %s", "before", before)
	t.Logf("%-8s %s", "busy", busy)
	t.Logf("%-8s %s", "after", after)
	o.verify()
	verify(t, before, after)
	if run.reloads.Load() < int64(d/reloadInterval)/2 {
		t.Errorf("only %d reloads", run.reloads.Load())
	}
}

// duration reads LB_SOAK.
func duration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("LB_SOAK")
	if text == "" {
		return defaultDuration
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 10*time.Second {
		t.Fatalf("LB_SOAK=%s is not a duration of at least 10s: set it to one such as 10m", text)
	}
	return d
}

// wait sleeps. It is for conditions without an event.
func wait(d time.Duration) { <-time.After(d) }

// verify compares the usage before and after.
func verify(t *testing.T, before, after usage) {
	t.Helper()
	if after.goroutines > before.goroutines {
		t.Errorf("%d goroutines have leaked:\n%s", after.goroutines-before.goroutines, stacks())
	}
	if added := slices.DeleteFunc(slices.Clone(after.descriptors),
		func(d string) bool { return slices.Contains(before.descriptors, d) }); len(after.descriptors) > len(before.descriptors) {
		t.Errorf("%d descriptors have leaked, among %v", len(after.descriptors)-len(before.descriptors), added)
	}
	if len(after.processes) > 0 {
		t.Errorf("processes have leaked: %v", after.processes)
	}
	if after.heap > before.heap+heapAllowance {
		t.Errorf("the heap has grown by %d KiB, want at most %d", (after.heap-before.heap)>>10, heapAllowance>>10)
	}
}

// measureAfter measures repeatedly until nothing is left over or patience runs out, because killed processes
// take a moment to end.
func measureAfter(t *testing.T, before usage) usage {
	t.Helper()
	for end := time.Now().Add(patience); ; wait(warmUp / 20) {
		u := measure(t)
		clean := u.goroutines <= before.goroutines && len(u.descriptors) <= len(before.descriptors) && len(u.processes) == 0
		if clean || time.Now().After(end) {
			return u
		}
	}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// running is a running agent.
type running struct {
	addr     string
	reloads  atomic.Int64
	cancel   context.CancelFunc
	ended    chan error
	reloader chan struct{} // closed when the goroutine that requests reloads has ended
}

// start runs an agent with the testbed's configuration and reloads it every few seconds. Every other reload
// adds or removes a service.
func (b *testbed) start(t *testing.T) *running {
	t.Helper()
	r := &running{ended: make(chan error, 1), reloader: make(chan struct{})}
	dir := t.TempDir()
	reload, ready := make(chan struct{}, 1), make(chan struct{})
	log := &firstLines{}
	a, err := agent.New(t.Context(), agent.Options{
		Load: func() (*config.Config, error) {
			path := filepath.Join(dir, "lb.toml")
			if err := os.WriteFile(path, []byte(b.config(dir, r.reloads.Add(1)%2 == 0)), 0o600); err != nil {
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
		defer close(r.reloader)
		ticker := time.NewTicker(reloadInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				select {
				case reload <- struct{}{}:
				default: // the previous one is still in progress
				}
			}
		}
	}()
	t.Cleanup(func() {
		if log.text.Len() > 0 {
			t.Errorf("the agent logged errors:\n%s", log.text.String())
		}
	})
	return r
}

// stop ends the agent and waits for it.
func (r *running) stop(t *testing.T) {
	t.Helper()
	begun := time.Now()
	r.cancel()
	<-r.reloader
	if err := <-r.ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	t.Logf("the agent stopped within %s", time.Since(begun).Round(time.Millisecond))
}

// firstLines keeps the first lines of a log.
type firstLines struct{ text bytes.Buffer }

func (f *firstLines) Write(p []byte) (int, error) {
	if f.text.Len() < 1<<14 {
		f.text.Write(p)
	}
	return len(p), nil
}

// services is the expected state of each service: true for a health above 0.
func (b *testbed) services() map[string]bool {
	expect := map[string]bool{}
	for _, s := range b.list {
		expect[s.name] = s.good
	}
	return expect
}

func (b *testbed) checks() (n int) {
	for _, s := range b.list {
		n += len(s.depends) + len(s.metrics)
	}
	return n
}

func (b *testbed) badChecks() (n int) {
	for _, s := range b.list {
		if !s.good {
			n += len(s.depends) + len(s.metrics)
		}
	}
	return n
}

// config is the configuration of the agent, with or without the service "temporary".
func (b *testbed) config(dir string, temporary bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, "[agent]\nlisten = %q\ncontrol = %q\ndata_dir = %q\n", "127.0.0.1:0", filepath.Join(dir, "agent.sock"),
		filepath.Join(dir, "data"))
	for _, s := range b.list {
		s.write(&text)
	}
	if temporary {
		bad := b.list[slices.IndexFunc(b.list, func(s service) bool { return !s.good })]
		bad.name = "temporary"
		bad.write(&text)
	}
	return text.String()
}

// usage is what this process and its descendants use.
type usage struct {
	goroutines  int
	descriptors []string
	processes   []string
	heap        uint64 // bytes in use after garbage collection
	resident    uint64 // bytes
}

func (f usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d processes, %.1f MiB of heap, %.1f MiB resident",
		f.goroutines, len(f.descriptors), len(f.processes), float64(f.heap)/(1<<20), float64(f.resident)/(1<<20))
}

// measure reads the current usage.
func measure(t *testing.T) usage {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first run may only have started finalizers
	runtime.ReadMemStats(&m)
	f := usage{goroutines: runtime.NumGoroutine(), heap: m.HeapAlloc}
	f.descriptors = descriptors(t)
	f.processes = slices.Sorted(maps.Values(processes(t)))
	f.resident = resident(t)
	return f
}

// loopback listens on a free port of the loopback interface.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

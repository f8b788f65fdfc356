// Package labtest gives tests a lab that is closed with the test, and a way to wait for conditions.
package labtest

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
)

// pollInterval is the time between two checks of a condition.
const pollInterval = 10 * time.Millisecond

// New returns a lab that is closed when the test ends. The test fails if labs cannot be built here; it is never skipped.
func New(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := lab.New(Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// Log returns a logger that writes to the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Switch returns the lab's switch with this name, building it if needed.
func Switch(t testing.TB, l *lab.Lab, name string) *lab.Switch {
	t.Helper()
	s, err := l.Switch(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Host builds a host with one interface, eth0, and the given addresses, written as prefixes.
func Host(t testing.TB, l *lab.Lab, s *lab.Switch, name string, prefixes ...string) *lab.Host {
	t.Helper()
	link := lab.Link{Switch: s, Interface: "eth0"}
	for _, p := range prefixes {
		link.Addresses = append(link.Addresses, netip.MustParsePrefix(p))
	}
	h, err := l.Host(name, link)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// NoFallbackTunnels keeps the kernel's modules from creating tunl0 and ip6tnl0, which cannot be deleted, in hosts built from now on, until
// the test ends.
func NoFallbackTunnels(t testing.TB) {
	t.Helper()
	const setting = "/proc/sys/net/core/fb_tunnels_only_for_init_net"
	was, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setting, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(setting, was, 0); err != nil {
			t.Error(err)
		}
	})
}

// Run runs a program on the host and returns its standard output. The test fails if the program does.
func Run(t testing.TB, h *lab.Host, name string, args ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Eventually waits until cond holds. If it does not within the timeout, the test fails with the last state seen.
func Eventually(t testing.TB, timeout time.Duration, what string, cond func() (ok bool, last string)) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, last := cond()
		if ok {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("timed out after %v waiting for: %s\nlast state: %s", timeout, what, last)
		case <-tick.C:
		}
	}
}

// Output collects what a process writes. It can be read while the process runs. The zero value is ready to use.
type Output struct {
	mu  sync.Mutex // protects buf
	buf bytes.Buffer
}

// Write appends to the output.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns everything written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

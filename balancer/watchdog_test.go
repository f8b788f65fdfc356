package balancer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/systemd"
)

// notifyTimeout is how long a test waits for what comes at once on a machine with nothing else to do.
const notifyTimeout = 30 * time.Second

// manager is a service manager that a test listens for; told gives what it is told next, "" when that is nothing within the time.
func serviceManager(t *testing.T, watchdog time.Duration) (m *systemd.Notifier, told func(within time.Duration) string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb") // a short path, for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	if m, err = systemd.New(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return m, func(within time.Duration) string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestServiceManagerNotifications(t *testing.T) {
	m, told := serviceManager(t, time.Hour)
	_, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	o := options(cfg)
	reload := make(chan struct{}, 1)
	broken := false
	o.Reload, o.Manager = reload, m
	o.Load = func() (*config.Config, error) {
		if broken {
			return nil, errors.New("lb.toml:3: no")
		}
		return cfg, nil
	}
	t.Run("while it runs", func(t *testing.T) {
		runDaemon(t, o)
		for _, want := range []string{"READY=1\nSTATUS=what is to run is in the kernel", "RELOADING=1\nMONOTONIC_USEC=", "READY=1\nSTATUS=1 clusters",
			"RELOADING=1\nMONOTONIC_USEC=", "READY=1\nSTATUS=the last reload was refused"} {
			got := told(notifyTimeout)
			if !strings.HasPrefix(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if strings.HasPrefix(got, "READY=1") && !strings.Contains(got, "refused") {
				broken = strings.Contains(got, "clusters")
				reload <- struct{}{}
			}
		}
	})
	if got := told(notifyTimeout); got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("at the end: %q", got)
	}
}

func TestTheEngineKicksTheWatchdog(t *testing.T) {
	m, told := serviceManager(t, 50*time.Millisecond)
	_, node := fakeAgent(t)
	o := options(daemonConfig(t, node))
	o.Manager = m
	b, _ := runDaemon(t, o)
	for beats := 0; beats < 3; {
		switch told(notifyTimeout) {
		case "WATCHDOG=1":
			beats++
		case "":
			t.Fatal("no sign of life")
		}
	}
	// While the owner is held up, a sign that was on its way may still come, and then no more.
	timesOut, release := make(chan struct{}), make(chan struct{})
	var held sync.WaitGroup
	held.Go(func() {
		if err := b.engine.do(t.Context(), func(context.Context) { close(timesOut); <-release }); err != nil {
			t.Error(err)
		}
	})
	<-timesOut
	for told(20*time.Millisecond) != "" {
	}
	if got := told(200 * time.Millisecond); got != "" {
		t.Errorf("the owner timesOut, and the manager is told %q", got)
	}
	close(release)
	held.Wait()
	if got := told(notifyTimeout); got != "WATCHDOG=1" {
		t.Errorf("the owner works again, and the manager is told %q", got)
	}
}

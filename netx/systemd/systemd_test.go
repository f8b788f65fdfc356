package systemd

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/systemd/systemdtest"
)

// timeout is how long a test waits for a notification that was sent.
const timeout = 10 * time.Second

func TestNotifications(t *testing.T) {
	manager := systemdtest.New(t, 30*time.Second)
	notifier, err := New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if notifier.WatchdogInterval() != 15*time.Second {
		t.Errorf("watchdog interval %s, want 15s", notifier.WatchdogInterval())
	}
	if os.Getenv("WATCHDOG_USEC")+os.Getenv("WATCHDOG_PID") != "" {
		t.Error("the commands of checks would inherit the watchdog variables")
	}
	for _, tc := range []struct {
		tell func()
		want string
	}{
		{func() { notifier.Ready("%d services:\n%s", 3, "x") }, "READY=1\nSTATUS=3 services: x"},
		{notifier.Stopping, "STOPPING=1\nSTATUS=stopping"},
		{notifier.KickWatchdog, "WATCHDOG=1"},
	} {
		tc.tell()
		if got := manager.Next(t, timeout); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
	notifier.Reloading()
	lines := strings.Split(manager.Next(t, timeout), "\n")
	if len(lines) != 3 || lines[0] != "RELOADING=1" || lines[2] != "STATUS=reloading" {
		t.Fatalf("%q", lines)
	}
	usec, found := strings.CutPrefix(lines[1], "MONOTONIC_USEC=")
	if n, err := strconv.ParseInt(usec, 10, 64); !found || err != nil || n <= 0 {
		t.Errorf("%q", lines[1])
	}
}

func TestNoNotificationsWithoutAServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m, err := New(slog.New(slog.DiscardHandler))
	if m != nil || err != nil {
		t.Fatalf("%v, %v", m, err)
	}
	m.Ready("x")
	m.Reloading()
	m.Stopping()
	m.KickWatchdog()
	if m.WatchdogInterval() != 0 {
		t.Errorf("watchdog interval %s, want 0", m.WatchdogInterval())
	}
}

func TestTheWatchdogOfAnotherProcessIsIgnored(t *testing.T) {
	systemdtest.New(t, 30*time.Second)
	t.Setenv("WATCHDOG_PID", "1")
	m, err := New(slog.New(slog.DiscardHandler))
	if err != nil || m.WatchdogInterval() != 0 {
		t.Errorf("%v, watchdog interval %s, want 0", err, m.WatchdogInterval())
	}
}

func TestAFailedNotificationIsLoggedOnce(t *testing.T) {
	systemdtest.New(t, time.Hour).Close()
	var log strings.Builder
	m, err := New(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	m.Ready("x")
	if strings.Count(log.String(), "cannot notify the service manager") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

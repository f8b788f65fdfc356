package systemd

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// notifySocket listens where a service manager would and sets NOTIFY_SOCKET.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestNotifications(t *testing.T) {
	conn := notifySocket(t)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
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
		if got := receive(t, conn); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
	notifier.Reloading()
	lines := strings.Split(receive(t, conn), "\n")
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
	notifySocket(t)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "1")
	m, err := New(slog.New(slog.DiscardHandler))
	if err != nil || m.WatchdogInterval() != 0 {
		t.Errorf("%v, watchdog interval %s, want 0", err, m.WatchdogInterval())
	}
}

func TestAFailedNotificationIsLoggedOnce(t *testing.T) {
	notifySocket(t).Close()
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

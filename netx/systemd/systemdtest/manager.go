// Package systemdtest imitates systemd for tests of daemons that notify it.
package systemdtest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Manager is a service manager that receives notifications.
type Manager struct{ conn *net.UnixConn }

// New starts a manager and sets the environment that it gives its services: NOTIFY_SOCKET, and a watchdog for this process. It and
// the environment end with the test.
func New(t *testing.T, watchdog time.Duration) *Manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb") // short enough for the path of a socket
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
	return &Manager{conn}
}

// Next returns the next notification; "" if none arrives within the timeout.
func (m *Manager) Next(t *testing.T, timeout time.Duration) string {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := m.conn.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// Close ends the manager before the test ends.
func (m *Manager) Close() { m.conn.Close() }

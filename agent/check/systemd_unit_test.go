package check

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestUnitState(t *testing.T) {
	for _, tc := range []struct {
		name   string
		state  unitState
		ok     bool
		reason string
	}{
		{"running", unitState{"loaded", "active", "running"}, true, "active (running)"},
		{"finished", unitState{"loaded", "active", "exited"}, true, "active (exited)"},
		{"reloading", unitState{"loaded", "reloading", "reload"}, true, "reloading (reload)"},
		{"stopped", unitState{"loaded", "inactive", "dead"}, false, "inactive (dead)"},
		{"failed", unitState{"loaded", "failed", "failed"}, false, "failed (failed)"},
		{"starting", unitState{"loaded", "activating", "start-pre"}, false, "activating (start-pre)"},
		{"unknown", unitState{"not-found", "inactive", "dead"}, false, "systemd has no such unit"},
		{"masked", unitState{"masked", "inactive", "dead"}, false, "inactive (dead), and its unit file is masked"},
		{"running without its unit file", unitState{"not-found", "active", "running"}, true, "active (running)"},
	} {
		t.Run(tc.name, func(t *testing.T) { want(t, tc.state.result(), tc.ok, tc.reason) })
	}
	if _, err := parseUnitState(map[string]any{"LoadState": "loaded", "ActiveState": 1, "SubState": "x"}); err == nil {
		t.Error("a state that is a number is accepted")
	}
}

func TestWithoutDBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	want(t, run(t, dependency("systemd_unit", map[string]any{"unit": "x.service"}), Host{}), false,
		"systemd is not available over D-Bus on this machine")
}

func TestAHungDBusTimesOut(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	c := dependency("systemd_unit", map[string]any{"unit": "x.service"})
	c.Timeout = 100 * time.Millisecond
	want(t, run(t, c, Host{}), false, "timed out after 100ms")
}

//go:build lab

package check

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// systemd is a fake of systemd on a real D-Bus: its units, by the last part of their object paths.
type systemd map[string]unitState

// GetAll is org.freedesktop.DBus.Properties.GetAll.
func (s systemd) GetAll(m dbus.Message, _ string) (map[string]dbus.Variant, *dbus.Error) {
	path := fmt.Sprint(m.Headers[dbus.FieldPath].Value())
	state, found := s[path[strings.LastIndex(path, "/")+1:]]
	if !found {
		state = unitState{"not-found", "inactive", "dead"}
	}
	return map[string]dbus.Variant{
		"LoadState": dbus.MakeVariant(state.load), "ActiveState": dbus.MakeVariant(state.active), "SubState": dbus.MakeVariant(state.sub),
	}, nil
}

// startBus runs a real dbus-daemon and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "bus.conf")
	conf := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>
`, dir)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--print-address", "--config-file="+file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start dbus-daemon (apt-get install dbus): %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

func TestUnitsOverARealDBus(t *testing.T) {
	address := startBus(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	bus, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	units := systemd{"web_2eservice": {"loaded", "active", "running"}, "db_2eservice": {"loaded", "failed", "failed"}}
	if err := bus.ExportSubtree(units, "/org/freedesktop/systemd1/unit", "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	of := func(unit string) Result {
		return run(t, dependency("systemd_unit", map[string]any{"unit": unit}), Host{})
	}
	want(t, of("web.service"), false, "query systemd: ")
	if _, err := bus.RequestName("org.freedesktop.systemd1", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	want(t, of("web.service"), true, "active (running)")
	want(t, of("db.service"), false, "failed (failed)")
	want(t, of("nope.service"), false, "systemd has no such unit")
}

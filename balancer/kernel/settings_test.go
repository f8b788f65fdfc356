package kernel

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

// sysctls writes files of sysctls into a folder of the test.
func sysctls(t *testing.T, values map[string]string) ipvs.SysctlDir {
	t.Helper()
	dir := t.TempDir()
	for name, value := range values {
		file := filepath.Join(dir, strings.ReplaceAll(name, ".", "/"))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return ipvs.SysctlDir(dir)
}

func TestSettingsAreChangedOnlyIfAsked(t *testing.T) {
	const name = "net.ipv4.vs.expire_nodest_conn"
	for _, c := range []struct {
		name   string
		value  string // "" is a kernel that has no such setting
		asked  bool
		after  string
		change string
		log    string // what must be in it; "" is no log at all
	}{
		{"unsafe and not asked", "0", false, "0", "", "sysctl -w net.ipv4.vs.expire_nodest_conn=1"},
		{"unsafe and asked", "0", true, "1", name + " 0 → 1", ""},
		{"safe", "1", true, "1", "", ""},
		{"missing", "", true, "", "", "cannot check a kernel setting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			values := map[string]string{}
			if c.value != "" {
				values[name] = c.value
			}
			dir := sysctls(t, values)
			var log bytes.Buffer
			s := NewSettings(dir, slog.New(slog.NewTextHandler(&log, nil)))
			s.MaySet(c.asked)
			changes := s.Reconcile(time.Unix(0, 0), ipvs.Features{Masq: true})
			after, _ := dir.Get(name) // it may not be there
			if after != c.after {
				t.Errorf("the setting is %q, want %q", after, c.after)
			}
			if (c.change == "") != (len(changes) == 0) || len(changes) > 0 && !strings.HasPrefix(changes[0].Text, c.change) {
				t.Errorf("changes %v, want %q", changes, c.change)
			}
			if !strings.Contains(log.String(), c.log) || (c.log == "") != (log.Len() == 0) {
				t.Errorf("log lacks %q:\n%s", c.log, log.String())
			}
		})
	}
}

// TestSettingsAreWatched changes settings while lb runs.
func TestSettingsAreWatched(t *testing.T) {
	const forward, conntrack = "net.ipv4.ip_forward", "net.ipv4.vs.expire_nodest_conn"
	for _, asked := range []bool{false, true} {
		dir := sysctls(t, map[string]string{forward: "1", conntrack: "1"})
		var log bytes.Buffer
		s := NewSettings(dir, slog.New(slog.NewTextHandler(&log, nil)))
		s.MaySet(asked)
		use := ipvs.Features{Masq: true, NAT4: true}
		now := time.Unix(0, 0)
		if changes := s.Reconcile(now, use); len(changes) > 0 || len(s.Wrong()) > 0 || log.Len() > 0 {
			t.Errorf("before anything changed: %v, %v, %s", changes, s.Wrong(), &log)
		}
		if err := dir.Set(forward, "0"); err != nil {
			t.Fatal(err)
		}
		if changes := s.Reconcile(now.Add(time.Second), use); len(changes) > 0 {
			t.Errorf("read before it was due: %v", changes)
		}
		s.Expire()
		changes := s.Reconcile(now.Add(time.Second), use)
		value, err := dir.Get(forward)
		if err != nil {
			t.Fatal(err)
		}
		if !asked && (value != "0" || len(changes) > 0 || len(s.Wrong()) != 1 ||
			!strings.Contains(log.String(), "sysctl -w "+forward+"=1")) {
			t.Errorf("not asked to set it: %s, %v, %v, %s", value, changes, s.Wrong(), &log)
		}
		if asked && (value != "1" || len(changes) != 1 || !changes[0].Drift || len(s.Wrong()) > 0) {
			t.Errorf("asked to set it: %s, %v, %v", value, changes, s.Wrong())
		}
	}
}

// TestForwardingKeepsRouterAdvertisements expects an interface that has its default route from router advertisements to keep it.
func TestForwardingKeepsRouterAdvertisements(t *testing.T) {
	const all, eth0, eth1 = "net.ipv6.conf.all.accept_ra", "net.ipv6.conf.eth0.accept_ra", "net.ipv6.conf.eth1.accept_ra"
	dir := sysctls(t, map[string]string{"net.ipv6.conf.all.forwarding": "0", all: "1", eth0: "1", eth1: "0",
		"net.ipv4.vs.expire_nodest_conn": "1"})
	s := NewSettings(dir, slog.New(slog.DiscardHandler))
	s.MaySet(true)
	s.Reconcile(time.Unix(0, 0), ipvs.Features{Masq: true, NAT6: true})
	for name, want := range map[string]string{"net.ipv6.conf.all.forwarding": "1", all: "1", eth0: "2", eth1: "0"} {
		if got, err := dir.Get(name); got != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
}

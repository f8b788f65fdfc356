// Package systemd holds the systemd units of both daemons; its tests check them against the program.
package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/exit"
)

// settings reads a unit's settings; the last value of a key counts.
func settings(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			found[key] = value
		}
	}
	return found
}

func TestServiceUnitsMatchTheProgram(t *testing.T) {
	for unit, command := range map[string]string{client.Agent().Unit: "agent", client.Balancer().Unit: "balance"} {
		t.Run(unit, func(t *testing.T) {
			s := settings(t, unit+".service")
			for key, want := range map[string]string{
				"Type": "notify", "NotifyAccess": "main", "ExecStart": "/usr/bin/lb " + command, "ExecReload": "/bin/kill -HUP $MAINPID",
				// Not exit.Refused: Go programs that panic or are aborted by the watchdog exit with 2.
				"RestartPreventExitStatus": fmt.Sprint(exit.NoKernel, exit.NoPrivilege, exit.Mistakes),
				"StartLimitIntervalSec":    "0", "KillMode": "mixed",
				"RuntimeDirectory": "lb", "RuntimeDirectoryPreserve": "yes", // the folder also holds the other daemon's socket
			} {
				if s[key] != want {
					t.Errorf("%s is %q, want %q", key, s[key], want)
				}
			}
			if s["WatchdogSec"] == "" {
				t.Error("WatchdogSec is not set")
			}
		})
	}
	cfg, err := config.LoadText("lb.toml", "[balancer]\n[agent]\n", check.Validate)
	if err != nil {
		t.Fatal(err)
	}
	for unit, paths := range map[string]struct{ data, control string }{
		client.Agent().Unit:    {cfg.Agent.DataDir, cfg.Agent.Control},
		client.Balancer().Unit: {cfg.Balancer.DataDir, cfg.Balancer.Control},
	} {
		s := settings(t, unit+".service")
		if got := filepath.Join("/var/lib", s["StateDirectory"]); s["ProtectSystem"] != "strict" || got != paths.data {
			t.Errorf("%s may write to %s, but data_dir is %s", unit, got, paths.data)
		}
		if got := filepath.Join("/run", s["RuntimeDirectory"]); got != filepath.Dir(paths.control) {
			t.Errorf("%s may create its socket in %s, but control is %s", unit, got, paths.control)
		}
	}
	if got := settings(t, "lb-balance.service")["CapabilityBoundingSet"]; got != "CAP_NET_ADMIN" {
		t.Errorf("lb balance has the capabilities %q", got)
	}
}

func TestSocketUnitsNameConfigurationKeys(t *testing.T) {
	files, err := filepath.Glob("*.socket")
	if err != nil || len(files) != 2 {
		t.Fatalf("%q, %v", files, err)
	}
	keys := map[string]bool{"agent.listen": true, "agent.control": true}
	for _, name := range files {
		s := settings(t, name)
		if !keys[s["FileDescriptorName"]] || s["Service"] != client.Agent().Unit+".service" {
			t.Errorf("%s: FileDescriptorName %q, Service %q", name, s["FileDescriptorName"], s["Service"])
		}
		delete(keys, s["FileDescriptorName"])
	}
}

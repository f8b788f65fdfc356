package check

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNagiosDependency(t *testing.T) {
	for _, tc := range []struct {
		name, command string
		strict, ok    bool
		reason        string
	}{
		{"OK", "echo 'DISK OK - free space: / 10 GB|/=3GB;9;9;0;10'", false, true, "OK: DISK OK - free space: / 10 GB"},
		{"OK without output", "true", false, true, "OK: it printed nothing"},
		{"WARNING is up", "echo 'LOAD WARNING'; exit 1", false, true, "WARNING: LOAD WARNING"},
		{"WARNING with warning_fails", "echo 'LOAD WARNING'; exit 1", true, false, "WARNING: LOAD WARNING"},
		{"OK with warning_fails", "echo fine", true, true, "OK: fine"},
		{"CRITICAL", "printf 'NTP CRITICAL\\nlong text\\n'; exit 2", false, false, "CRITICAL: NTP CRITICAL"},
		{"UNKNOWN", "echo 'no such host' >&2; exit 3", false, false, "UNKNOWN: no such host"},
		{"a missing plugin", "/no/such/plugin", false, false, "exit status 127, not a Nagios plugin's 0 to 3: it printed"},
		{"another status", "exit 4", false, false, "exit status 4, not a Nagios"},
		{"a crash", "kill -SEGV $$", false, false, "segmentation fault"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, dependency("nagios", map[string]any{"command": tc.command, "warning_fails": tc.strict}), Host{})
			want(t, r, tc.ok, tc.reason)
			if strings.Contains(r.Detail, "9;9") || strings.Contains(r.Detail, "long text") {
				t.Errorf("the detail %q has more than the plugin's message", r.Detail)
			}
		})
	}
}

func TestNagiosMetric(t *testing.T) {
	for _, tc := range []struct {
		name, command string
		options       map[string]any
		ok            bool
		value         float64
		reason        string
	}{
		{"OK contributes the full weight", "echo fine", nil, true, 80, "OK: fine"},
		{"WARNING contributes half", "echo slow; exit 1", nil, true, 40, "WARNING: slow"},
		{"CRITICAL contributes nothing", "echo dead; exit 2", nil, true, 0, "CRITICAL: dead"},
		{"configured shares", "exit 1", map[string]any{"warning": 75, "critical": 10}, true, 60, "WARNING"},
		{"a share for CRITICAL", "exit 2", map[string]any{"warning": 75, "critical": 10}, true, 8, "CRITICAL"},
		{"UNKNOWN is not measured", "echo huh; exit 3", nil, false, 0, "UNKNOWN: huh"},
		{"a missing plugin", "/no/such/plugin", nil, false, 0, "exit status 127"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			options := map[string]any{"command": tc.command}
			for k, v := range tc.options {
				options[k] = v
			}
			r := run(t, metric("nagios", 80, options), Host{})
			want(t, r, tc.ok, tc.reason)
			if r.Value != tc.value {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

func TestAHungPluginIsKilledWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	c := dependency("nagios", map[string]any{"command": `sleep 1000 & echo $! > ` + file + `; wait`})
	c.Timeout = 300 * time.Millisecond
	want(t, run(t, c, Host{}), false, "killed: timed out after 300ms")
	gone(t, pidIn(t, file))
}

func FuzzParsePlugin(f *testing.F) {
	f.Add("DISK OK - free|/=3GB\nmore | less", "")
	f.Add("", "no such host\n")
	f.Add(" |x", "\n")
	f.Fuzz(func(t *testing.T, stdout, stderr string) {
		message := parsePlugin(stdout, stderr)
		if message == "" || strings.ContainsAny(message, "\n|") || message != strings.TrimSpace(message) {
			t.Errorf("parsePlugin(%q, %q) = %q", stdout, stderr, message)
		}
	})
}

//go:build lab

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDemoRunsWithoutATerminal plays the whole demo, checks that it checks itself, and that it cleans up.
func TestDemoRunsWithoutATerminal(t *testing.T) {
	links, lbs := interfaces(t), lbProcesses(t)
	out, err := exec.CommandContext(t.Context(), binary(t), "demo").CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("lb demo: %v", err)
	}
	text := string(out)
	for _, want := range []string{
		"1. Balance by health", "2. A new kid on the block", "3. Maintenance", "4. A heartbeat fails", "5. The balancer dies",
		", 0 lost, slowest",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo does not print %q", want)
		}
	}
	compareWithReadme(t, readmeBlock(t, "demo"), text)
	if held := strings.Count(text, "\n  held "); held < 8 {
		t.Errorf("%d claims were checked, want at least 8", held)
	}
	if strings.Contains(text, "\x1b") {
		t.Error("the output contains escape sequences")
	}
	if now := interfaces(t); now != links {
		t.Errorf("interfaces were %s, now %s", links, now)
	}
	if now := lbProcesses(t); now != lbs {
		t.Errorf("%d lb processes, %d before the demo", now, lbs)
	}
}

// interfaces returns this machine's network interfaces.
func interfaces(t *testing.T) string {
	t.Helper()
	lines, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^ *(\S+):`).FindAllString(string(lines), -1), " ")
}

// lbProcesses counts the processes that run the lb under test.
func lbProcesses(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	running := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == binary(t) {
			running++
		}
	}
	return running
}

package check

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestScriptDependency(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options map[string]any
		ok      bool
		reason  string
	}{
		{"exit status 0", map[string]any{"command": "exit 0"}, true, "it printed nothing"},
		{"exit status 1", map[string]any{"command": "echo no disk; exit 1"}, false, "exit status 1: it printed no disk"},
		{"stderr precedes stdout", map[string]any{"command": "echo out; echo err >&2; exit 3"}, false, "exit status 3: it printed err"},
		{"killed by a signal", map[string]any{"command": "kill -SEGV $$"}, false, "segmentation fault"},
		{"a missing command", map[string]any{"command": "/no/such/cmd arg"}, false, "exit status 127"},
		{"a missing program", map[string]any{"argv": []string{"/no/such/cmd"}}, false, "no such file"},
		{"argv runs without a shell", map[string]any{"argv": []string{"/bin/echo", "$HOME", "; exit 1"}}, true,
			"it printed $HOME ; exit 1"},
		{"stdin is empty", map[string]any{"command": "cat"}, true, "nothing"},
		{"megabytes of output", map[string]any{"command": "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2"}, true, "it printed end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, dependency("script", tc.options), Host{})
			want(t, r, tc.ok, tc.reason)
			if len(r.Detail) > maxDetail {
				t.Errorf("the detail has %d bytes", len(r.Detail))
			}
		})
	}
}

// pidIn reads the process id that a script wrote to a file.
func pidIn(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone waits until a process has ended. It is not our child, so init reaps it at some point.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("process %d is still running: %s", pid, stat)
			return
		}
	}
}

func TestAHungScriptIsKilledWithItsChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	c := dependency("script", map[string]any{"command": `trap "" TERM INT; sleep 1000 & echo $! > ` + file + `; wait`})
	c.Timeout = 300 * time.Millisecond
	start := time.Now()
	want(t, run(t, c, Host{}), false, "killed: timed out after 300ms")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	gone(t, pidIn(t, file))
}

func TestAChildThatKeepsTheOutputOpenDoesNotBlockTheCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	want(t, run(t, dependency("script", map[string]any{"command": `sleep 1000 & echo $! > ` + file + `; echo done`}), Host{}), true,
		"it printed done")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	gone(t, pidIn(t, file))
}

func TestAChildThatLeftTheProcessGroupDoesNotBlockTheCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	command := `setsid sh -c 'echo $$ > ` + file + `; exec sleep 1000' & while ! test -s ` + file + `; do :; done; echo done`
	want(t, run(t, dependency("script", map[string]any{"command": command}), Host{}), true, "it printed done")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := syscall.Kill(pidIn(t, file), syscall.SIGKILL); err != nil {
		t.Errorf("the process that left the group on purpose was killed: %v", err)
	}
}

func TestAStoppingAgentKillsItsScripts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	c := build(t, dependency("script", map[string]any{"command": "echo $$ > " + file + "; sleep 1000"}), Host{})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan Result)
	go func() { result <- c.Run(ctx) }()
	for {
		if data, err := os.ReadFile(file); err == nil && len(data) > 0 {
			break
		}
	}
	cancel()
	want(t, <-result, false, "the agent is stopping")
	want(t, c.Run(ctx), false, "the agent is stopping")
}

func TestScriptMetric(t *testing.T) {
	for _, tc := range []struct {
		name    string
		command string
		scale   string
		weight  int
		ok      bool
		value   float64
		reason  string
	}{
		{"a percentage of the weight", "echo 50", "", 50, true, 25, "printed 50"},
		{"a fraction", "echo 0.501", "fraction", 100, true, 50.1, "printed 0.501"},
		{"the maximum", "printf 100", "percent", 80, true, 80, ""},
		{"zero", "echo 0", "", 80, true, 0, ""},
		{"an exponent", "echo 1e-3", "fraction", 100, true, 0.1, ""},
		{"a fraction above 1", "echo 2", "fraction", 50, false, 0, `not between 0 and 1 (scale "fraction"): it printed 2`},
		{"above 100", "echo 101", "", 50, false, 0, "not between 0 and 100"},
		{"negative", "echo -1", "", 50, false, 0, "not between"},
		{"junk", "echo junk", "", 50, false, 0, "not a single number: it printed junk"},
		{"nothing", "true", "", 50, false, 0, "not a single number: it printed nothing"},
		{"not a number", "echo NaN", "", 50, false, 0, "not a single number"},
		{"two numbers", "echo 1; echo 2", "", 50, false, 0, "not a single number"},
		{"a number and a failure", "echo 30; exit 3", "", 50, false, 0, "exit status 3"},
		{"a missing command", "/no/such/cmd", "", 50, false, 0, "exit status 127"},
		{"much on stderr", "yes | head -c 300000 >&2; echo 100", "", 50, true, 50, "printed 100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			options := map[string]any{"command": tc.command}
			if tc.scale != "" {
				options["scale"] = tc.scale
			}
			r := run(t, metric("script", tc.weight, options), Host{})
			want(t, r, tc.ok, tc.reason)
			if diff := r.Value - tc.value; diff > 1e-9 || diff < -1e-9 {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

func FuzzParseShare(f *testing.F) {
	f.Add("0.501\n", true)
	f.Add("100", false)
	f.Add("0x1p-2", true)
	f.Fuzz(func(t *testing.T, out string, asFraction bool) {
		scale := percent
		if asFraction {
			scale = fraction
		}
		if share, err := parseShare(out, scale); err == nil && !(share >= 0 && share <= 1) {
			t.Errorf("parseShare(%q, %s) = %v", out, scale, share)
		}
	})
}

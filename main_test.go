package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/braintree/lb/ctl/cmdline"
	"github.com/braintree/lb/netx/golden"
)

// linkNames are the names by which lb can be called.
var linkNames = []string{"lb", "litmusctl", "litmus", "bigbro", "bigbrother", "ocf_big_brother"}

func TestMain(m *testing.M) {
	commands := map[string]func(){}
	for _, name := range linkNames {
		commands[name] = main
	}
	testscript.Main(m, commands)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, scripts("testdata/script"))
}

// scripts returns the parameters for the scripts in a folder, with commands in addition to testscript's own.
func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		UpdateScripts:       golden.Update(),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("LISTEN", freeAddress())
			env.Setenv("USER", "ann")
			env.Setenv("SUDO_USER", "ann")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise the race detector delays each exit by a second
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus,
			"await":  scriptAwait,
			"fill":   scriptFill,
			"signal": scriptSignal,
		},
	}
}

// freeAddress returns an address that no other program uses: a random one in 127.0.0.0/8, with a port below the kernel's ephemeral ports.
func freeAddress() string {
	n := rand.Uint32()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(1 + n%254), byte(n >> 8), byte(1 + n>>16%254)}), 9293).String()
}

// scriptStatus runs a command and compares its exit status: status N command [args...].
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// scriptAwait runs a command until its output contains a text: await TEXT command [args...].
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await TEXT command [args...]")
	}
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout"); strings.Contains(out, args[0]) {
			return
		}
		select {
		case <-deadline.C:
			ts.Fatalf("timed out waiting for %q: %v", args[0], err)
		case <-again.C:
		}
	}
}

// scriptFill expands the script's variables in files: fill file...
func scriptFill(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		ts.Check(os.WriteFile(path, []byte(os.Expand(ts.ReadFile(name), ts.Getenv)), 0o644))
	}
}

// scriptSignal sends a signal to all background commands: signal HUP|TERM. testscript's own kill does not know SIGHUP.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	if neg || len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal HUP|TERM")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(signals[args[0]]))
	}
}

// program returns a process with these arguments, and its output and error output.
func program(name string, args ...string) (process, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return process{args: append([]string{name}, args...), in: strings.NewReader(""), out: &out, err: &err}, &out, &err
}

// everyPath calls do for each command of a tree, with the words that lead to it.
func everyPath(c cmdline.Command, path []string, do func(path []string, c cmdline.Command)) {
	do(path, c)
	for _, sub := range c.Commands {
		everyPath(sub, append(path[:len(path):len(path)], sub.Names[0]), do)
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	for _, name := range []string{"lb", "litmusctl"} {
		p, _, _ := program(name)
		app := map[string]func() *cli.App{"lb": p.lb, "litmusctl": p.litmusctl}[name]()
		everyPath(cmdline.Tree(app), nil, func(path []string, _ cmdline.Command) {
			t.Run(strings.Join(append([]string{name}, path...), " "), func(t *testing.T) {
				for _, words := range [][]string{append(path[:len(path):len(path)], "--help"), append([]string{"help"}, path...)} {
					p, out, err := program(name, words...)
					if status := run(p); status != 0 || err.Len() > 0 {
						t.Errorf("%q: status %d: %s", words, status, err)
					}
					if !strings.Contains(out.String(), "Examples:\n") && !strings.Contains(out.String(), "Exit status:") {
						t.Errorf("%q shows no example:\n%s", words, out)
					}
					if len(path) > 0 && !strings.Contains(out.String(), name+" "+strings.Join(path, " ")+" - ") {
						t.Errorf("%q shows the help of another command:\n%s", words, out)
					}
				}
			})
		})
	}
}

// TestAnOptionTakesAValueEverywhereOrNowhere checks the assumption of cmdline.arrange.
func TestAnOptionTakesAValueEverywhereOrNowhere(t *testing.T) {
	p, _, _ := program("lb")
	kinds := map[string]bool{}
	everyPath(cmdline.Tree(p.lb()), nil, func(path []string, c cmdline.Command) {
		for _, f := range c.Flags {
			for _, n := range f.Names {
				if kind, known := kinds[n]; known && kind != f.TakesValue {
					t.Errorf("%q: option %s takes a value in one command and is a switch in another", path, n)
				}
				kinds[n] = f.TakesValue
			}
		}
	})
}

func TestLinksToLb(t *testing.T) {
	tests := map[string]struct {
		args   []string
		status int
		words  string
	}{
		"bigbrother":      {[]string{"promote"}, 3, `unknown action "promote"`},
		"ocf_big_brother": {[]string{"promote"}, 3, `unknown action "promote"`},
		"litmusctl":       {[]string{"lst"}, 2, `did you mean "list"? See ` + "`litmusctl --help`"},
		"litmus":          {[]string{"--log-level", "loud"}, 2, `--log-level "loud"`},
		"bigbro":          {[]string{"--dryrun"}, 2, `did you mean "--dry-run"? See ` + "`lb balance --help`"},
		"lb":              {[]string{"agnet"}, 2, `did you mean "agent"? See ` + "`lb --help`"},
		"lb-linux-amd64":  {[]string{"agnet"}, 2, `did you mean "agent"?`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, out, err := program(filepath.Join("/usr/lib/somewhere", name), tt.args...)
			if status := run(p); status != tt.status || !strings.Contains(err.String(), tt.words) || out.Len() > 0 {
				t.Errorf("status %d, printed %q and %q; want status %d and %q", status, out, err, tt.status, tt.words)
			}
		})
	}
}

func TestGetenvReturnsTheLast(t *testing.T) {
	p := process{env: []string{"A=1", "AB=2", "A=3", "B"}}
	for key, want := range map[string]string{"A": "3", "AB": "2", "B": "", "C": ""} {
		if got := p.getenv(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

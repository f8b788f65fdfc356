//go:build lab

package lab_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

func TestProcessesSeeOnlyTheirHost(t *testing.T) {
	one, two := twoHosts(t)
	for _, h := range []*lab.Host{one, two} {
		if got := labtest.Run(t, h, "uname", "-n"); got != h.Name()+"\n" {
			t.Errorf("hostname of %s is %q", h.Name(), got)
		}
		if err := h.WriteFile("/var/lib/lb/agent/note", []byte(h.Name()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.WriteFile("/run/lb/note", []byte(h.Name()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := labtest.Run(t, one, "cat", "/var/lib/lb/agent/note", "/run/lb/note"); got != "oneone" {
		t.Errorf("one reads %q", got)
	}
	if got, err := two.ReadFile("/run/lb/note"); err != nil || string(got) != "two" {
		t.Errorf("two reads %q, %v", got, err)
	}
	if got := labtest.Run(t, one, "ls", "/sys/class/net"); !strings.Contains(got, "eth0") || !strings.Contains(got, "lo") {
		t.Errorf("interfaces in /sys: %q", got)
	}
	if got := labtest.Run(t, one, "cat", "/proc/1/comm"); got != "cat\n" {
		t.Errorf("process 1 is %q", got)
	}
	if got, err := one.ReadFile("/proc/net/dev"); err != nil || !strings.Contains(string(got), "eth0:") {
		t.Errorf("/proc/net/dev: %q, %v", got, err)
	}
}

func TestRunReturnsOutputAndStandardError(t *testing.T) {
	one, _ := twoHosts(t)
	out, err := one.Run(t.Context(), "sh", "-c", "echo partly; echo no such thing >&2; exit 3")
	if out != "partly\n" || err == nil || !strings.Contains(err.Error(), "one: sh -c") ||
		!strings.Contains(err.Error(), "exit status 3: no such thing") {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := one.Run(t.Context(), "no-such-program"); err == nil {
		t.Error("a missing program ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := one.Run(ctx, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that exceeds the timeout: %v", err)
	}
}

func TestSignalsStopAndKill(t *testing.T) {
	one, _ := twoHosts(t)
	t.Run("signal", func(t *testing.T) {
		var out labtest.Output
		p, err := one.Start(lab.Command{
			Path: "sh", Stdout: &out, Args: []string{"-c", "trap 'echo stopped; exit 7' TERM; echo ready; while :; do sleep 0.05; done"},
		})
		if err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, timeout, "the shell is ready", func() (bool, string) { return out.String() == "ready\n", out.String() })
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if code := p.ExitCode(); code != 7 || out.String() != "ready\nstopped\n" {
			t.Errorf("exit status %d, output %q", code, out.String())
		}
		if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("signal to an exited process: %v", err)
		}
	})
	t.Run("kill ends the process group", func(t *testing.T) {
		var out labtest.Output
		p, err := one.Start(lab.Command{Path: "sh", Stdout: &out, Args: []string{"-c", "sleep 1234 & echo ready; wait"}})
		if err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, timeout, "the shell is ready", func() (bool, string) { return out.String() == "ready\n", out.String() })
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err == nil || p.ExitCode() != -1 {
			t.Errorf("a killed process ended with %v", err)
		}
		labtest.Eventually(t, timeout, "the child is gone", func() (bool, string) {
			list := labtest.Run(t, one, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
			return !strings.Contains(list, "sleep 1234"), list
		})
	})
	t.Run("name and environment", func(t *testing.T) {
		var out labtest.Output
		p, err := one.Start(lab.Command{
			Path: "/bin/sh", Name: "bigbro", Stdout: &out, Env: []string{"WORD=given"},
			Args: []string{"-c", "echo $0 $WORD; tr '\\0' ' ' </proc/$$/cmdline"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.HasPrefix(got, "bigbro given\nbigbro -c") {
			t.Errorf("output %q", got)
		}
	})
}

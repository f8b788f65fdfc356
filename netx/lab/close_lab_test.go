//go:build lab

package lab_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
)

func TestCloseReleasesEverythingAndIsIdempotent(t *testing.T) {
	openFiles := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	buildAndClose := func() {
		l, err := lab.New(labtest.Log(t))
		if err != nil {
			t.Fatal(err)
		}
		h := labtest.Host(t, l, labtest.Switch(t, l, "lan"), "one", "10.9.0.1/24")
		if _, err := h.Start(lab.Command{Path: "sleep", Args: []string{"1000"}}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := h.Run(t.Context(), "true"); !errors.Is(err, lab.ErrClosed) {
			t.Errorf("Run after Close: %v", err)
		}
		if err := h.Do(func() error { return nil }); !errors.Is(err, lab.ErrClosed) {
			t.Errorf("Do after Close: %v", err)
		}
		if _, err := l.Host("two"); !errors.Is(err, lab.ErrClosed) {
			t.Errorf("Host after Close: %v", err)
		}
	}
	buildAndClose() // what the runtime opens once
	before := openFiles()
	for range 3 {
		buildAndClose()
	}
	if after := openFiles(); after > before {
		t.Errorf("open files grew from %d to %d in three labs", before, after)
	}
	labtest.Eventually(t, timeout, "no thread of ours is in another network namespace", func() (bool, string) {
		left := strayThreads(t)
		return len(left) == 0, strings.Join(left, " ")
	})
}

func TestRemovedHostIsGoneAndCanBeRebuilt(t *testing.T) {
	l := labtest.New(t)
	lan := labtest.Switch(t, l, "lan")
	two := labtest.Host(t, l, lan, "two", "10.9.0.2/24")
	for range 2 {
		one := labtest.Host(t, l, lan, "one", "10.9.0.1/24")
		listener, err := one.Listen(t.Context(), "tcp", "0.0.0.0:80")
		if err != nil {
			t.Fatal(err)
		}
		running, err := one.Start(lab.Command{Path: "sleep", Args: []string{"1000"}})
		if err != nil {
			t.Fatal(err)
		}
		dial := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c, err := two.Dial(ctx, "tcp", "10.9.0.1:80")
			if err == nil {
				c.Close()
			}
			return err
		}
		if err := dial(timeout); err != nil {
			t.Fatal(err)
		}
		if err := l.Remove(one); err != nil {
			t.Fatal(err)
		}
		if err := running.Wait(); err == nil {
			t.Error("its process ended well")
		}
		if err := one.Do(func() error { return nil }); !errors.Is(err, lab.ErrClosed) {
			t.Errorf("Do on a host that was removed: %v", err)
		}
		if err := l.Remove(one); err == nil {
			t.Error("it was removed twice")
		}
		if err := dial(time.Second); err == nil {
			t.Error("it answers still")
		}
		listener.Close()
	}
}

func TestNewFailsWithoutPrivilege(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), ownerEnv+"="+nobody)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run as root") {
		t.Errorf("got %v: %s", err, out)
	}
}

func TestKilledOwnerLeavesNothingBehind(t *testing.T) {
	before := machineState(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), ownerEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The owner says which network namespaces its hosts have.
	lines := bufio.NewScanner(out)
	var namespaces []string
	for lines.Scan() && lines.Text() != "ready" {
		namespaces = append(namespaces, lines.Text())
	}
	if len(namespaces) != 2 {
		t.Fatalf("the owner said %q", namespaces)
	}
	if threads := threadsIn(t, namespaces); len(threads) == 0 {
		t.Errorf("nothing is in %v", namespaces)
	}
	// "started" is said by the shells: what they become, and their children's exec, may take a moment more.
	labtest.Eventually(t, timeout, "the owner's hosts run four marked processes", func() (bool, string) {
		running := sleepingProcesses(t)
		return len(running) == 4, strings.Join(running, " ")
	})
	if during := machineState(t); during != before {
		t.Errorf("a lab changed the machine:\n%s\nwas\n%s", during, before)
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	labtest.Eventually(t, timeout, "no process of the hosts is left", func() (bool, string) {
		left := sleepingProcesses(t)
		return len(left) == 0, strings.Join(left, " ")
	})
	labtest.Eventually(t, timeout, "nothing is left in the hosts' namespaces", func() (bool, string) {
		left := threadsIn(t, namespaces)
		return len(left) == 0, strings.Join(left, " ")
	})
	if after := machineState(t); after != before {
		t.Errorf("the machine has changed:\n%s\nwas\n%s", after, before)
	}
}

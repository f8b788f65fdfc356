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
	buildAndClose() // lets the runtime open what it keeps open
	before := openFiles()
	for range 3 {
		buildAndClose()
	}
	if after := openFiles(); after > before {
		t.Errorf("open files grew from %d to %d in three labs", before, after)
	}
	labtest.Eventually(t, timeout, "all threads are in the main thread's network namespace", func() (bool, string) {
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
			t.Error("its process exited with status 0")
		}
		if err := one.Do(func() error { return nil }); !errors.Is(err, lab.ErrClosed) {
			t.Errorf("Do on a removed host: %v", err)
		}
		if err := l.Remove(one); err == nil {
			t.Error("removing it twice succeeded")
		}
		if err := dial(time.Second); err == nil {
			t.Error("it still responds")
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
	// The owner prints the network namespaces of its hosts.
	lines := bufio.NewScanner(out)
	var namespaces []string
	for lines.Scan() && lines.Text() != "ready" {
		namespaces = append(namespaces, lines.Text())
	}
	if len(namespaces) != 2 {
		t.Fatalf("the owner printed %q", namespaces)
	}
	if threads := threadsIn(t, namespaces); len(threads) == 0 {
		t.Errorf("no thread is in %v", namespaces)
	}
	// The shells print "started" just before they and their children exec sleep.
	labtest.Eventually(t, timeout, "the owner's hosts run four sleeping processes", func() (bool, string) {
		running := sleepingProcesses(t)
		return len(running) == 4, strings.Join(running, " ")
	})
	if during := machineState(t); during != before {
		t.Errorf("the lab changed the machine:\n%s\nbefore:\n%s", during, before)
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	labtest.Eventually(t, timeout, "all processes of the hosts are gone", func() (bool, string) {
		left := sleepingProcesses(t)
		return len(left) == 0, strings.Join(left, " ")
	})
	labtest.Eventually(t, timeout, "the hosts' namespaces are empty", func() (bool, string) {
		left := threadsIn(t, namespaces)
		return len(left) == 0, strings.Join(left, " ")
	})
	if after := machineState(t); after != before {
		t.Errorf("the machine has changed:\n%s\nbefore:\n%s", after, before)
	}
}

//go:build lab

package mark_test

import (
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/mark/marktest"
)

// enterNewNamespace puts the calling goroutine, and the programs that it starts, into a network namespace of its own. Its thread is
// never unlocked, so it ends with the test and takes the namespace along.
func enterNewNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
}

func newKernel(t *testing.T) *mark.Kernel {
	t.Helper()
	k, err := mark.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func nft(t *testing.T, commands string) string {
	t.Helper()
	out, err := exec.Command("nft", commands).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v\n%s", commands, err, out)
	}
	return string(out)
}

func TestKernelKeepsTheContract(t *testing.T) {
	marktest.Run(t, func(t *testing.T) mark.Table {
		enterNewNamespace(t)
		return newKernel(t)
	})
}

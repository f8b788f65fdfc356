//go:build lab

package check

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The test reads this kernel's files for the machine and for a cgroup.
func TestPressureOfTheRealKernel(t *testing.T) {
	tree := t.TempDir()
	if err := unix.Mount("none", tree, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mount the cgroup v2 tree (run as root): %v", err)
	}
	defer unix.Unmount(tree, 0)
	group := filepath.Join(tree, "lb-test-pressure")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(group)
	h := Host{Cgroup: tree}
	for _, resource := range []string{"cpu", "memory", "io"} {
		if r := run(t, metric("pressure", 100, map[string]any{"resource": resource}), h); !r.OK || r.Value < 0 || len(r.Samples) != 1 {
			t.Errorf("%s: %+v", resource, r)
		}
		c := metric("pressure", 100, map[string]any{"resource": resource, "cgroup": "/lb-test-pressure"})
		if r := run(t, c, h); !r.OK || r.Value != 100 {
			t.Errorf("%s of a cgroup without a process: %+v", resource, r)
		}
	}
}

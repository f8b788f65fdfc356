//go:build lab

package plan_test

import (
	"flag"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/braintree/lb/balancer/plan/plantest"
	"github.com/braintree/lb/netx/ipvs"
)

// TestPropertyPlanOnTheKernel tries fewer tables than the test in memory: each takes a tenth of a second.
func TestPropertyPlanOnTheKernel(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	// Without an interface that is up the kernel takes every destination for a broadcast address.
	if out, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	table, err := ipvs.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	if err := flag.Set("rapid.checks", "30"); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		left, err := table.Dump(t.Context())
		if err != nil {
			r.Fatal(err)
		}
		for _, s := range left {
			if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteService(s.Key)); err != nil {
				r.Fatal(err)
			}
		}
		plantest.CheckPlan(r, table)
	})
}

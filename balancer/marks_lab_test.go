//go:build lab

package balancer

import (
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/mark"
)

// markingRules lists the table with the marking rules.
func (r *kernelRig) markingRules() string {
	r.t.Helper()
	return strings.TrimSpace(runTool(r.t, "nft list ruleset"))
}

// started starts the cluster and returns nft's listing of the marking rules.
func (r *kernelRig) started() string {
	r.t.Helper()
	r.web.CheckInterval, r.web.CheckTimeout = 10*time.Second, time.Second // so that no timer repairs
	r.fleet.set("10.0.0.1", 92)
	r.fleet.set("10.0.0.2", 40)
	e, kill := r.run()
	r.t.Cleanup(kill)
	if changed, err := e.Start(r.t.Context(), "web", "test"); !changed || err != nil {
		r.t.Fatalf("start: %v, %v", changed, err)
	}
	want := r.markingRules()
	if !strings.Contains(want, "204.109.13.7 . tcp . 7") {
		r.t.Fatalf("the marking rules are\n%s", want)
	}
	return want
}

// TestFlushedMarksAreBackAtOnce flushes nftables fifty times at random moments and waits until the rules are back.
func TestFlushedMarksAreBackAtOnce(t *testing.T) {
	const (
		flushes = 50
		most    = time.Second // natively 200 ms; the lab's machine is emulated
	)
	r := newKernelRig(t)
	r.started()
	rules, err := r.marks.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range flushes {
		pause := time.NewTimer(rand.N(200 * time.Millisecond)) //nolint:gosec // not a secret
		<-pause.C
		runTool(t, "nft flush ruleset")
		flushed := time.Now()
		eventually(t, "the rules are back", func() bool {
			got, err := r.marks.List(t.Context())
			return err == nil && slices.Equal(got, rules)
		})
		took = append(took, time.Since(flushed))
	}
	slices.Sort(took)
	t.Logf("%d flushes: back after %v at most, %v in the median", flushes, took[flushes-1], took[flushes/2])
	if worst := took[flushes-1]; worst > most {
		t.Errorf("the rules were back after %s, want %s at most", worst, most)
	}
	r.wantLog("drift repaired: another program changed the marking rules")
}

// TestDamageBesideTheRulesIsDrift makes the chain drop packets: the rules themselves are still right.
func TestDamageBesideTheRulesIsDrift(t *testing.T) {
	r := newKernelRig(t)
	want := r.started()
	out, err := exec.Command("nft", "chain inet lb prerouting { policy drop; }").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "the policy is right again", func() bool { return strings.Contains(r.markingRules(), "policy accept") })
	eventually(t, "the log shows drift", func() bool {
		return strings.Contains(r.log.String(), "drift repaired: another program changed the marking rules")
	})
	if got := r.markingRules(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

// TestAStormOfFlushesCostsLittleOnTheKernel removes the table a hundred times a second and counts lb's repairs.
func TestAStormOfFlushesCostsLittleOnTheKernel(t *testing.T) {
	const storm = 5 * time.Second
	r := newKernelRig(t)
	want := r.started()
	before, used, flushes := r.marks.Writes(), processorTime(t), 0
	other, err := mark.NewKernel() // another program
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for time.Since(start) < storm {
		<-tick.C
		if err := other.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		flushes++
	}
	writes, cost := r.marks.Writes()-before, processorTime(t)-used
	t.Logf("%d flushes in %s: %d repairs, %s of processor time of both", flushes, time.Since(start), writes, cost)
	// The gap doubles from 20 ms: 9 repairs in the first ten seconds.
	if writes < 1 || writes > 12 {
		t.Errorf("%d repairs", writes)
	}
	eventually(t, "the rules are back after the storm", func() bool { return r.markingRules() == want })
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

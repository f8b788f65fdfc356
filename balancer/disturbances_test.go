package balancer

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/netx/mark"
)

// rules lists the marking rules.
func (r *rig) rules() []mark.Rule {
	r.t.Helper()
	rules, err := r.marks.List(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return rules
}

func TestMarksAreRepairedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		want := r.rules()
		r.wait(time.Second)
		var did []string
		r.table.SetFault(nil)
		r.marks.SetFault(func(operation string) error { did = append(did, operation); return nil })
		r.marks.Disturb()
		synctest.Wait()
		r.marks.SetFault(nil)
		if got := r.rules(); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("the rules are %v, want %v", got, want)
		}
		if got := strings.Join(did, ", "); got != "list marks, set marks" {
			t.Errorf("it did %s", got)
		}
		r.wantLog("drift repaired: another program changed the marking rules", "mark 7: add tcp 204.109.13.7:7")
	})
}

func TestADisturbanceBeforeTheFirstWatchIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.marks.SetFault(func(operation string) error {
			if operation == "watch marks" {
				return errBusy
			}
			return nil
		})
		r.boot(webapp("web", 7, 1))
		r.start("web")
		want := r.rules()
		r.wantLog("cannot follow changes of nftables")
		r.marks.Disturb()
		r.marks.SetFault(nil)
		r.wait(watchRetry)
		if got := r.rules(); !slices.Equal(got, want) {
			t.Errorf("the rules are %v, want %v", got, want)
		}
	})
}

// TestAStormOfChangesCostsLittle flushes the rules a hundred times a second.
func TestAStormOfChangesCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		want := r.rules()
		r.wait(time.Minute)
		var looks atomic.Int64
		r.marks.SetFault(func(operation string) error {
			if operation == "list marks" {
				looks.Add(1)
			}
			return nil
		})
		flush := func(d time.Duration) int64 {
			looks.Store(0)
			for start := time.Now(); time.Since(start) < d; {
				r.marks.Disturb()
				r.wait(10 * time.Millisecond)
			}
			return looks.Load()
		}
		// The gap grows from 20 ms to the interval of 2 s.
		if first := flush(10 * time.Second); first < 7 || first > 20 {
			t.Errorf("%d repairs in the first ten seconds", first)
		}
		if later := flush(time.Minute); later < 25 || later > 60 {
			t.Errorf("%d repairs in a minute of an interval of 2 s", later)
		}
		r.wait(2 * time.Second)
		r.marks.SetFault(nil)
		if got := r.rules(); !slices.Equal(got, want) {
			t.Errorf("after the storm the rules are %v, want %v", got, want)
		}
		r.wait(time.Minute)
		r.marks.Disturb()
		synctest.Wait()
		if got := r.rules(); !slices.Equal(got, want) {
			t.Errorf("a minute after the storm, the rules are %v, want %v at once", got, want)
		}
	})
}

func TestAFailedRepairIsTriedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.boot(webapp("web", 7, 1))
		r.start("web")
		want := r.rules()
		r.wait(time.Second)
		r.marks.SetFault(func(string) error { return errBusy })
		r.marks.Disturb()
		r.wait(100 * time.Millisecond)
		r.marks.SetFault(nil)
		r.wait(200 * time.Millisecond)
		if got := r.rules(); !slices.Equal(got, want) {
			t.Errorf("the rules are %v, want %v", got, want)
		}
	})
}

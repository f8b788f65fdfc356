//go:build bench

package bench

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// watchInterval is how often a core is checked, and by how much that may be late before the core counts as stolen.
	watchInterval = 500 * time.Microsecond
	// watchPriority is above that of servers and load generator, see schedule.
	watchPriority = 2
)

// steal is a time in which a core did nothing for this virtual machine, because the host ran something else on it.
type steal struct{ from, to time.Time }

// over is when the delayed requests have been answered. At half load that takes as long as the steal itself;
// twice as long leaves a margin.
func (s steal) over() time.Time { return s.to.Add(2 * s.to.Sub(s.from)) }

// disturbed reports whether an answer to a request that was due at one time and answered at another may have
// waited for a stolen core.
func disturbed(due, at time.Time, steals []steal) bool {
	for _, s := range steals {
		if at.After(s.from) && due.Before(s.over()) {
			return true
		}
	}
	return false
}

// watchCore watches a core until stop is called, which returns its steals. It has a higher priority than all
// other work there, so that it wakes up late only if the core is stolen. It uses about 1 % of the core.
func watchCore(t *testing.T, core int) (stop func() []steal) {
	t.Helper()
	ready, end, found := make(chan error), make(chan struct{}), make(chan []steal)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with its priority
		var only unix.CPUSet
		only.Set(core)
		ready <- errors.Join(unix.SchedSetaffinity(0, &only), schedule(0, watchPriority))
		var steals []steal
		pause := unix.NsecToTimespec(watchInterval.Nanoseconds())
		for last := time.Now(); ; {
			_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &pause, nil) // an interrupted sleep is not late
			now := time.Now()
			if now.Sub(last) > 2*watchInterval {
				steals = append(steals, steal{last, now})
			}
			last = now
			select {
			case <-end:
				found <- steals
				return
			default:
			}
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("watch core %d: %v", core, err)
	}
	return func() []steal {
		close(end)
		return <-found
	}
}

func TestAnswersAreDisturbedBySteals(t *testing.T) {
	begun := time.Now()
	at := func(ms int) time.Time { return begun.Add(time.Duration(ms) * time.Millisecond) }
	steals := []steal{{at(100), at(110)}}
	for _, tc := range []struct {
		due, at int // ms
		want    bool
	}{{90, 99, false}, {90, 101, true}, {102, 105, true}, {109, 112, true}, {129, 131, true}, {130, 131, false}} {
		if got := disturbed(at(tc.due), at(tc.at), steals); got != tc.want {
			t.Errorf("due after %d ms, answered after %d ms, core stolen from 100 to 110 ms: disturbed %t", tc.due, tc.at, got)
		}
	}
}

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
	// glance is how often a core is looked at, and how late that may be before the core counts as away.
	glance = 500 * time.Microsecond
	// lookoutPriority is above that of servers and generator, see schedule.
	lookoutPriority = 2
)

// absence is a time in which a core did nothing for this machine, because the host that lends it ran something else there.
type absence struct{ from, to time.Time }

// over tells when what had to wait is answered, too: at half load that takes as long as the absence, and here twice as long for room.
func (a absence) over() time.Time { return a.to.Add(2 * a.to.Sub(a.from)) }

// disturbed tells whether an answer that was due and came at these moments waited for a core that was away.
func disturbed(due, at time.Time, away []absence) bool {
	for _, a := range away {
		if at.After(a.from) && due.Before(a.over()) {
			return true
		}
	}
	return false
}

// keepLookout watches a core until stop is called, which gives its absences. The lookout goes before all other work there, so that only
// a core that is away lets it wake up late. It takes about a hundredth of the core.
func keepLookout(t *testing.T, core int) (stop func() []absence) {
	t.Helper()
	ready, end, found := make(chan error), make(chan struct{}), make(chan []absence)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its priority
		var only unix.CPUSet
		only.Set(core)
		ready <- errors.Join(unix.SchedSetaffinity(0, &only), schedule(0, lookoutPriority))
		var away []absence
		pause := unix.NsecToTimespec(glance.Nanoseconds())
		for last := time.Now(); ; {
			_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &pause, nil) // one that a signal ends early sees nothing late
			now := time.Now()
			if now.Sub(last) > 2*glance {
				away = append(away, absence{last, now})
			}
			last = now
			select {
			case <-end:
				found <- away
				return
			default:
			}
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("watch core %d: %v", core, err)
	}
	return func() []absence {
		close(end)
		return <-found
	}
}

func TestAnswersAreDisturbedByAbsencesAndByWhatTheyLeaveBehind(t *testing.T) {
	begun := time.Now()
	at := func(ms int) time.Time { return begun.Add(time.Duration(ms) * time.Millisecond) }
	away := []absence{{at(100), at(110)}}
	for _, tc := range []struct {
		due, at int // ms
		want    bool
	}{{90, 99, false}, {90, 101, true}, {102, 105, true}, {109, 112, true}, {129, 131, true}, {130, 131, false}} {
		if got := disturbed(at(tc.due), at(tc.at), away); got != tc.want {
			t.Errorf("due after %d ms, answered after %d ms, the core away from 100 to 110 ms: disturbed %t", tc.due, tc.at, got)
		}
	}
}

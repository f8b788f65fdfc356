package decide

import (
	"fmt"
	"time"
)

// Damping is what has to be remembered to follow a node's load with calm. The zero Damping follows the next change at once.
type Damping struct {
	Out         int       // what the stage gave last; 0: nothing to be calm about
	SlewedUntil time.Time // until when the way that slew allows is used up
	Moving      bool      // on the way to a weight that it has decided to follow
	Forced      bool      // the last weight was an operator's word, and so is its end
}

// mostPause bounds the time that counts for slew, which keeps its arithmetic within 64 bits.
const mostPause = time.Hour

// damp follows the load-driven part of a change: small ones not at all (dead band), the rest at most so fast (slew). A fall to 0 and
// what comes back from it, a ramp-up, and an operator's word to the agent or its end go through at once.
func (st State) damp(now time.Time, set Settings, weight int, ramps bool) (Damping, Step) {
	d := st.Damping
	if d.SlewedUntil.IsZero() {
		d.SlewedUntil = now // taken over from the kernel's table
	}
	step := Step{Name: StageDamping, In: weight, Out: weight, Reason: "follows at once"}
	forced := st.HasReading && st.LastReading.Forced
	free := weight == 0 || d.Out == 0 || ramps || forced || d.Forced
	gap := max(weight-d.Out, d.Out-weight)
	switch {
	case free || gap == 0:
		return Damping{Out: weight, SlewedUntil: now, Forced: forced}, step
	case st.Misses > 0:
		step.Out, step.Reason = d.Out, "silent: it stays where it is"
		d.SlewedUntil = now
	case !d.Moving && gap < set.DeadBand:
		step.Out, step.Reason = d.Out, fmt.Sprintf("%d off, less than dead_band = %d", gap, set.DeadBand)
		d.SlewedUntil = now
	case set.Slew == 0:
		d = Damping{Out: weight, SlewedUntil: now}
	default:
		d = d.move(now, set.Slew, weight)
		step.Out, step.Reason = d.Out, fmt.Sprintf("at most %d a second (slew)", set.Slew)
	}
	return d, step
}

// move goes towards weight as far as slew points a second allow since At.
func (d Damping) move(now time.Time, slew, weight int) Damping {
	passed := min(max(now.Sub(d.SlewedUntil), 0), mostPause)
	if passed == mostPause {
		d.SlewedUntil = now.Add(-passed)
	}
	way := int(int64(passed) * int64(slew) / int64(time.Second))
	gap := max(weight-d.Out, d.Out-weight)
	if way >= gap {
		return Damping{Out: weight, SlewedUntil: now}
	}
	if weight < d.Out {
		d.Out -= way
	} else {
		d.Out += way
	}
	// What is left below a whole point counts the next time.
	d.SlewedUntil, d.Moving = d.SlewedUntil.Add(time.Duration(int64(way)*int64(time.Second)/int64(slew))), true
	return d
}

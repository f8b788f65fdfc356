package decide

import (
	"fmt"
	"time"
)

// Damping is the memory of the damping stage. The zero Damping lets the next change through at once.
type Damping struct {
	Weight      int       // the stage's last output; 0: nothing to damp
	SlewedUntil time.Time // the movement that slew allows is used up to this time
	Moving      bool      // on the way to a weight outside the dead band
	Forced      bool      // the last weight was forced by an operator, so its end applies at once
}

// maxSlewTime bounds the time that counts for slew, which keeps the arithmetic within 64 bits.
const maxSlewTime = time.Hour

// damp ignores changes within the dead band and limits the speed of the others (slew). A change to or from 0, a ramp-up, and the
// start or end of a force on the agent apply at once.
func (st State) damp(now time.Time, set Settings, weight int, ramps bool) (Damping, Step) {
	d := st.Damping
	if d.SlewedUntil.IsZero() {
		d.SlewedUntil = now // adopted from the kernel's table
	}
	step := Step{Name: stageDamping, In: weight, Out: weight, Reason: "applied at once"}
	forced := st.HasReading && st.LastReading.Forced
	free := weight == 0 || d.Weight == 0 || ramps || forced || d.Forced
	gap := max(weight-d.Weight, d.Weight-weight)
	switch {
	case free || gap == 0:
		return Damping{Weight: weight, SlewedUntil: now, Forced: forced}, step
	case st.Misses > 0:
		step.Out, step.Reason = d.Weight, "no response: weight kept"
		d.SlewedUntil = now
	case !d.Moving && gap < set.DeadBand:
		step.Out, step.Reason = d.Weight, fmt.Sprintf("change of %d ignored: dead_band is %d", gap, set.DeadBand)
		d.SlewedUntil = now
	case set.Slew == 0:
		d = Damping{Weight: weight, SlewedUntil: now}
	default:
		d = d.move(now, set.Slew, weight)
		step.Out, step.Reason = d.Weight, fmt.Sprintf("limited to %d per second (slew)", set.Slew)
	}
	return d, step
}

// move goes towards weight as far as slew points per second allow since SlewedUntil.
func (d Damping) move(now time.Time, slew, weight int) Damping {
	elapsed := min(max(now.Sub(d.SlewedUntil), 0), maxSlewTime)
	if elapsed == maxSlewTime {
		d.SlewedUntil = now.Add(-elapsed)
	}
	allowed := int(int64(elapsed) * int64(slew) / int64(time.Second))
	gap := max(weight-d.Weight, d.Weight-weight)
	if allowed >= gap {
		return Damping{Weight: weight, SlewedUntil: now}
	}
	if weight < d.Weight {
		d.Weight -= allowed
	} else {
		d.Weight += allowed
	}
	// The fraction of a point that is left over counts next time.
	d.SlewedUntil, d.Moving = d.SlewedUntil.Add(time.Duration(int64(allowed)*int64(time.Second)/int64(slew))), true
	return d
}

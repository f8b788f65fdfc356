package decide

import (
	"fmt"
	"math/bits"
	"time"
)

// Pool is what a node's ramp-up depends on beside the node: whether others carry the traffic meanwhile.
type Pool struct {
	Since time.Time // from when on the cluster has had a weight above 0 without a gap; zero: it has none, or does not run
}

// Node is the pool after a cycle in which the weights of its nodes add up to total.
func (p Pool) Next(now time.Time, running bool, total int) Pool {
	switch {
	case !running || total <= 0:
		return Pool{}
	case p.Since.IsZero():
		return Pool{Since: now}
	}
	return p
}

// WarmPool is a pool that carries traffic for so long that whoever joins it now ramps up.
func WarmPool(now time.Time, set Settings) Pool {
	return Pool{Since: now.Add(-set.WarmUp)}
}

// protects tells whether others carry the traffic while this node ramps up. In a pool that has just got its first
// weight, the nodes that came up with it do not ramp: the first one would have to carry everything.
func (p Pool) protects(now time.Time, set Settings, st State) bool {
	switch {
	case p.Since.IsZero():
		return false
	case now.Sub(p.Since) >= set.WarmUp:
		return true
	}
	// Younger than Settle: only who has been in this pool before, or joined it later, ramps.
	return !st.LastInPool.IsZero() && !st.LastInPool.Before(p.Since)
}

// undrain takes in whether an operator drains the node. One that is let in again comes back like any other: it ramps up.
func (st State) undrain(now time.Time, set Settings, pool Pool, drain string) State {
	if st.Drained && drain == "" && st.Phase == Up && set.RampUp > 0 && pool.protects(now, set, st) {
		st.RampStart, st.RampWeight = now, 0
	}
	st.Drained = drain != ""
	return st
}

// rampStage holds a node that is new or back below its full weight, for a time.
func rampStage(now time.Time, set Settings, pool Pool, st State, health int) (State, Step) {
	step := Step{Name: StageRampUp, In: health, Out: health, Reason: "does not ramp"}
	if health == 0 {
		st.RampStart, st.RampWeight = time.Time{}, 0
		step.Reason = "nothing to ramp"
		return st, step
	}
	if st.RampStart.IsZero() {
		st.RampWeight = health
		return st, step
	}
	age := max(now.Sub(st.RampStart), 0)
	switch {
	case st.Misses > 0:
		step.Out = min(health, max(st.RampWeight, 1))
		step.Reason = fmt.Sprintf("ramping, but silent: it stays at %d", step.Out)
	case pool.Since.IsZero():
		st.RampStart = time.Time{}
		step.Reason = "no other node carries weight: it need not ramp"
	case age >= set.RampUp:
		st.RampStart = time.Time{}
		step.Reason = fmt.Sprintf("ramp-up of %s done", set.RampUp)
	default:
		ramped := max(1, scale(health, age, set.RampUp))
		step.Out = min(health, max(st.RampWeight, ramped))
		step.Reason = fmt.Sprintf("%s of %s ramp-up: %d of %d", age.Truncate(100*time.Millisecond), set.RampUp, step.Out, health)
	}
	st.RampWeight = step.Out
	return st, step
}

// scale is floor(health · age / whole), exactly, for 0 ≤ age < whole.
func scale(health int, age, whole time.Duration) int {
	hi, lo := bits.Mul64(uint64(health), uint64(age))
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int(q)
}

// share is the time after which a ramp over whole has reached weight of health, rounded up so that scale gives weight again.
func share(whole time.Duration, weight, health int) time.Duration {
	hi, lo := bits.Mul64(uint64(whole), uint64(weight))
	q, rem := bits.Div64(hi, lo, uint64(health))
	if rem > 0 {
		q++
	}
	return time.Duration(q)
}

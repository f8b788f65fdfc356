package decide

import (
	"fmt"
	"math/bits"
	"time"
)

// Pool records whether other nodes of a cluster carry the traffic while one ramps up.
type Pool struct {
	Since time.Time // start of the current uninterrupted time with a total weight above 0; zero: no weight, or not running
}

// Next returns the pool after a tick that left a total weight of total.
func (p Pool) Next(now time.Time, running bool, total int) Pool {
	switch {
	case !running || total <= 0:
		return Pool{}
	case p.Since.IsZero():
		return Pool{Since: now}
	}
	return p
}

// WarmPool returns a pool past its warm-up: every node that joins it ramps up.
func WarmPool(now time.Time, set Settings) Pool {
	return Pool{Since: now.Add(-set.WarmUp)}
}

// allowsRampUp reports whether other nodes carry the traffic while this one ramps up. During the pool's warm-up the nodes that came
// up with it do not ramp: the first one would carry everything.
func (p Pool) allowsRampUp(now time.Time, set Settings, st State) bool {
	switch {
	case p.Since.IsZero():
		return false
	case now.Sub(p.Since) >= set.WarmUp:
		return true
	}
	// In the warm-up only a node that was in this pool before, or joined it later, ramps.
	return !st.LastInPool.IsZero() && !st.LastInPool.Before(p.Since)
}

// setDrained records whether the node is drained. A resumed node ramps up like any other that comes back.
func (st State) setDrained(now time.Time, set Settings, pool Pool, drain string) State {
	if st.Drained && drain == "" && st.Phase == Up && set.RampUp > 0 && pool.allowsRampUp(now, set, st) {
		st.RampStart, st.RampWeight = now, 0
	}
	st.Drained = drain != ""
	return st
}

// rampStage limits the weight of a node that is new or back, from 1 up to its health within RampUp.
func rampStage(now time.Time, set Settings, pool Pool, st State, health int) (State, Step) {
	step := Step{Name: stageRampUp, In: health, Out: health, Reason: "not ramping"}
	if health == 0 {
		st.RampStart, st.RampWeight = time.Time{}, 0
		step.Reason = "nothing to ramp up"
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
		step.Reason = fmt.Sprintf("ramp-up held at %d: no response", step.Out)
	case pool.Since.IsZero():
		st.RampStart = time.Time{}
		step.Reason = "no ramp-up: no other node has weight"
	case age >= set.RampUp:
		st.RampStart = time.Time{}
		step.Reason = fmt.Sprintf("ramp-up of %s complete", set.RampUp)
	default:
		ramped := max(1, rampedWeight(health, age, set.RampUp))
		step.Out = min(health, max(st.RampWeight, ramped))
		step.Reason = fmt.Sprintf("ramping up: %s of %s, %d of %d", age.Truncate(100*time.Millisecond), set.RampUp, step.Out, health)
	}
	st.RampWeight = step.Out
	return st, step
}

// rampedWeight is floor(health · age / rampUp), without overflow, for 0 ≤ age < rampUp.
func rampedWeight(health int, age, rampUp time.Duration) int {
	hi, lo := bits.Mul64(uint64(health), uint64(age))
	q, _ := bits.Div64(hi, lo, uint64(rampUp))
	return int(q)
}

// rampTime is the age at which a ramp-up reaches weight, rounded up so that rampedWeight returns weight again.
func rampTime(rampUp time.Duration, weight, health int) time.Duration {
	hi, lo := bits.Mul64(uint64(rampUp), uint64(weight))
	q, rem := bits.Div64(hi, lo, uint64(health))
	if rem > 0 {
		q++
	}
	return time.Duration(q)
}

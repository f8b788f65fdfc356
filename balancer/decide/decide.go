// Package decide turns a node's readings into its weight, one named stage after the other, and says why at each of them.
package decide

import (
	"fmt"
	"math/bits"
	"time"
)

// MaxWeight is the most that the kernel's table takes (16 bits).
const MaxWeight = 65535

// Settings are what a cluster's configuration says about weights.
type Settings struct {
	Rise      int           // good polls in a row before a node that was at 0 counts again; below 1 is 1
	Fall      int           // polls without a usable answer in a row before a node is failed; below 1 is 1
	RampUp    time.Duration // from 1 to the full weight; 0 is at once
	MaxWeight int           // cap on the weight; 0 is none
	Settle    time.Duration // how long after a pool's first weight its other nodes still count as coming up together
}

// Reading is what one poll of a node gave.
type Reading struct {
	At       time.Time
	Answered bool   // an HTTP answer came, whatever its status; without one the node was silent
	Health   int    // of the answer, 0 or more; 0 unless Answered
	Detail   string // where the health comes from, or why there is none, in a few words
}

// Pool is what a node's ramp-up depends on beside the node: whether others carry the traffic meanwhile.
type Pool struct {
	Since time.Time // from when on the cluster has had a weight above 0 without a gap; zero: it has none, or does not run
}

// Next is the pool after a cycle in which the weights of its nodes add up to total.
func (p Pool) Next(now time.Time, running bool, total int) Pool {
	switch {
	case !running || total <= 0:
		return Pool{}
	case p.Since.IsZero():
		return Pool{Since: now}
	}
	return p
}

// Settled is a pool that carries traffic for so long that whoever joins it now ramps up.
func Settled(now time.Time, set Settings) Pool {
	return Pool{Since: now.Add(-set.Settle)}
}

// Phase is what is known about a node.
type Phase uint8

// The phases of a node.
const (
	Unknown Phase = iota // no reading that settles it yet
	Up                   // its health counts
	Down                 // at 0: it said so, or it fell silent
)

// State is what has to be remembered about a node from one decision to the next. The zero State is a node that is
// there from the start of its cluster.
type State struct {
	Phase   Phase
	Last    Reading   // the newest one
	Seen    bool      // Last is set
	Health  int       // of the last usable answer, 0–65535; the kernel's weight in an adopted node without one
	Good    int       // answers above 0 in a row
	Misses  int       // polls without a usable answer in a row
	Adopted bool      // taken over from the kernel's table, no reading yet
	Ramp    time.Time // when its ramp-up began; zero: it does not ramp
	Ramped  int       // what the ramp-up gave last
	Carried time.Time // when it last carried weight, or joined a pool that already ran; zero: neither
}

// Adopt is the state of a node that the kernel's table already has, at the weight it has there: it keeps that until its first reading.
func Adopt(weight int) State {
	return State{Adopted: true, Health: weight, Ramped: weight}
}

// Join is the state of a node that joins a cluster which already runs.
func Join(now time.Time) State {
	return State{Carried: now}
}

// Step is one stage of a decision.
type Step struct {
	Name   string `json:"name"`
	In     int    `json:"in"`
	Out    int    `json:"out"`
	Reason string `json:"reason"`
}

// The names of the stages, in their order.
const (
	StageReading  = "reading"
	StageRiseFall = "rise/fall"
	StageRampUp   = "ramp-up"
	StageCap      = "cap"
	StageFloor    = "floor"
)

// Next decides a node's weight, 0–65535. The reading is nil when only time has passed.
func Next(now time.Time, set Settings, pool Pool, st State, r *Reading) (State, int, []Step) {
	set = set.sane()
	steps := make([]Step, 0, 5)
	st, step := readingStage(st, r)
	steps = append(steps, step)
	if r != nil {
		st = st.count(now, set, pool, step.Out)
	}
	step = riseFallStage(set, st, step.Out)
	steps = append(steps, step)
	counted := step.Out
	st, step = rampStage(now, set, pool, st, counted)
	steps = append(steps, step)
	step = capStage(set, step.Out)
	steps = append(steps, step)
	step = floorStage(step.Out, counted)
	steps = append(steps, step)
	if step.Out > 0 {
		st.Carried = now
	}
	return st, step.Out, steps
}

// Why picks the sentence that explains the weight best: that of the last stage which changed something, else what is known about the node.
func Why(steps []Step) string {
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].In != steps[i].Out {
			return steps[i].Reason
		}
	}
	for _, s := range steps {
		if s.Name == StageRiseFall && s.Reason != reasonUp {
			return s.Reason
		}
	}
	if len(steps) == 0 {
		return "no decision yet"
	}
	return steps[0].Reason
}

// reasonUp is what rise/fall says when there is nothing to say.
const reasonUp = "up"

func (s Settings) sane() Settings {
	s.Rise, s.Fall = max(s.Rise, 1), max(s.Fall, 1)
	return s
}

// readingStage takes the reading in and gives the health that is known.
func readingStage(st State, r *Reading) (State, Step) {
	if r != nil {
		st.Last, st.Seen = *r, true
	}
	step := Step{Name: StageReading, In: st.Health, Out: st.Health}
	switch {
	case !st.Seen && st.Adopted:
		step.Reason = fmt.Sprintf("no reading yet, the kernel's table has %d", st.Health)
	case !st.Seen:
		step.Reason = "no reading yet"
	case !st.Last.Answered:
		step.Reason = "no usable answer: " + st.Last.Detail
	default:
		step.In = st.Last.Health
		step.Out = min(max(step.In, 0), MaxWeight)
		step.Reason = "the node answered " + st.Last.Detail
		if step.In != step.Out {
			step.Reason += fmt.Sprintf("; a weight is 0 to %d", MaxWeight)
		}
	}
	return st, step
}

// riseFallStage gives the health as far as it counts.
func riseFallStage(set Settings, st State, health int) Step {
	step := Step{Name: StageRiseFall, In: health, Reason: riseFallReason(set, st)}
	if st.Phase == Up || st.Adopted {
		step.Out = health
	}
	return step
}

// riseFallReason says why the health counts, or does not.
func riseFallReason(set Settings, st State) string {
	switch {
	case (st.Phase == Up || st.Adopted) && st.Misses > 0:
		return fmt.Sprintf("silent for %d of %d polls: the last weight holds", st.Misses, set.Fall)
	case st.Phase == Up:
		return reasonUp
	case st.Adopted:
		return "taken over from the kernel's table as it stands"
	case st.Phase == Unknown:
		return "not known yet: no weight before the first answer"
	case st.Misses >= set.Fall:
		return fmt.Sprintf("failed: silent for %d polls in a row (fall = %d), %s", st.Misses, set.Fall, st.Last.Detail)
	case st.Good > 0:
		return fmt.Sprintf("%d of %d good polls in a row: it does not count yet", st.Good, set.Rise)
	case st.Misses > 0:
		return "down, and silent now: " + st.Last.Detail
	}
	return "down by the node's own word: " + st.Last.Detail
}

// count counts the reading that has just come in as a silent, a zero or a good poll.
func (st State) count(now time.Time, set Settings, pool Pool, health int) State {
	switch {
	case !st.Last.Answered:
		return st.silent(set)
	case health == 0:
		return st.zero()
	}
	return st.good(now, set, pool, health)
}

// silent takes in a poll without a usable answer.
func (st State) silent(set Settings) State {
	st.Good = 0
	st.Misses++
	if st.Misses >= set.Fall {
		st.Phase, st.Health, st.Adopted = Down, 0, false
	}
	return st
}

// zero takes in an answer of 0.
func (st State) zero() State {
	st.Good, st.Misses, st.Health = 0, 0, 0
	st.Phase, st.Adopted = Down, false
	return st
}

// good takes in an answer above 0.
func (st State) good(now time.Time, set Settings, pool Pool, health int) State {
	st.Misses, st.Health = 0, health
	st.Good = min(st.Good+1, set.Rise)
	switch {
	case st.Phase == Up:
		return st
	case st.Phase == Down && st.Good < set.Rise:
		return st
	}
	adopted := st.Adopted
	st.Phase, st.Adopted, st.Ramp = Up, false, time.Time{}
	switch {
	case set.RampUp <= 0:
	case adopted && st.Ramped > 0:
		// Carry on where the last run of lb left off: as old as its weight says.
		if st.Ramped < capped(set, health) {
			st.Ramp = now.Add(-share(set.RampUp, st.Ramped, health))
		}
	case pool.protects(now, set, st):
		st.Ramp, st.Ramped = now, 0
	}
	return st
}

// protects tells whether others carry the traffic while this node ramps up. In a pool that has just got its first
// weight, the nodes that came up with it do not ramp: the first one would have to carry everything.
func (p Pool) protects(now time.Time, set Settings, st State) bool {
	switch {
	case p.Since.IsZero():
		return false
	case now.Sub(p.Since) >= set.Settle:
		return true
	}
	// Younger than Settle: only who has been in this pool before, or joined it later, ramps.
	return !st.Carried.IsZero() && !st.Carried.Before(p.Since)
}

// rampStage holds a node that is new or back below its full weight, for a time.
func rampStage(now time.Time, set Settings, pool Pool, st State, health int) (State, Step) {
	step := Step{Name: StageRampUp, In: health, Out: health, Reason: "does not ramp"}
	if health == 0 {
		st.Ramp, st.Ramped = time.Time{}, 0
		step.Reason = "nothing to ramp"
		return st, step
	}
	if st.Ramp.IsZero() {
		st.Ramped = health
		return st, step
	}
	age := max(now.Sub(st.Ramp), 0)
	switch {
	case st.Misses > 0:
		step.Out = min(health, max(st.Ramped, 1))
		step.Reason = fmt.Sprintf("ramping, but silent: it stays at %d", step.Out)
	case pool.Since.IsZero():
		st.Ramp = time.Time{}
		step.Reason = "no other node carries weight: it need not ramp"
	case age >= set.RampUp:
		st.Ramp = time.Time{}
		step.Reason = fmt.Sprintf("ramp-up of %s done", set.RampUp)
	default:
		ramped := max(1, scale(health, age, set.RampUp))
		step.Out = min(health, max(st.Ramped, ramped))
		step.Reason = fmt.Sprintf("%s of %s ramp-up: %d of %d", age.Truncate(100*time.Millisecond), set.RampUp, step.Out, health)
	}
	st.Ramped = step.Out
	return st, step
}

func capStage(set Settings, weight int) Step {
	step := Step{Name: StageCap, In: weight, Out: capped(set, weight), Reason: "no max_weight"}
	if set.MaxWeight > 0 {
		step.Reason = fmt.Sprintf("max_weight is %d", set.MaxWeight)
	}
	return step
}

func floorStage(weight, counted int) Step {
	step := Step{Name: StageFloor, In: weight, Out: weight, Reason: "a node that does not count has 0"}
	if counted > 0 {
		step.Out = max(weight, 1)
		step.Reason = "a healthy node has at least 1"
	}
	return step
}

func capped(set Settings, weight int) int {
	if set.MaxWeight > 0 {
		return min(weight, set.MaxWeight)
	}
	return weight
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

// Word names the state as operators read it: unknown, down, ramping or up.
func (st State) Word() string {
	switch {
	case st.Phase == Unknown:
		return "unknown"
	case st.Phase == Down:
		return "down"
	case !st.Ramp.IsZero():
		return "ramping"
	}
	return "up"
}

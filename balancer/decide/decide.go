// Package decide turns a node's readings into its weight, one named stage after the other, and says why at each of them.
package decide

import (
	"fmt"
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
	WarmUp    time.Duration // how long after a pool's first weight its other nodes still count as coming up together
	DeadBand  int           // points of health below which a change is not followed; 0 or 1 follows every one
	Slew      int           // points a second by which a weight follows its health at most; 0 is at once
}

// Reading is what one poll of a node gave.
type Reading struct {
	At       time.Time
	Answered bool   // an HTTP answer came, whatever its status; without one the node was silent
	Health   int    // of the answer, 0 or more; 0 unless Answered
	Forced   bool   // the health is an operator's word to the agent, not measured
	Detail   string // where the health comes from, or why there is none, in a few words
}

// OverrideKind tells a cluster's up file from its down file.
type OverrideKind uint8

// The kinds of files with which an operator overrules what the nodes of a cluster answer.
const (
	NoOverride OverrideKind = iota
	OverrideUp
	OverrideDown
)

// Override is what an operator says about all nodes of a cluster by a file. The zero File says nothing.
type Override struct {
	Kind   OverrideKind
	Reason string // its first words; "" when it is empty
}

// Input is what a decision about a node is made from, beside what is remembered about it.
type Input struct {
	Settings Settings
	Pool     Pool
	Override Override
	Drain    string   // who drains the node and why, such as "by kim: new disks"; "" is nobody
	Reading  *Reading // nil when only time has passed
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
	Phase        Phase
	LastReading  Reading   // the newest one
	HasReading   bool      // Last is set
	Health       int       // of the last usable answer, 0–65535; the kernel's weight in an adopted node without one
	Successes    int       // answers above 0 in a row
	Misses       int       // polls without a usable answer in a row
	Adopted      bool      // taken over from the kernel's table, no reading yet
	RampStart    time.Time // when its ramp-up began; zero: it does not ramp
	RampWeight   int       // what the ramp-up gave last
	LastInPool   time.Time // when it last carried weight, or joined a pool that already ran; zero: neither
	Drained      bool      // an operator drains it
	ByOperator   bool      // an operator wants it at 0: by a drain, a down file, or a force on its agent
	Weight       int       // what Next gave last
	FailedAt     time.Time // when it was failed for its silence while it had weight; zero: it was not
	FailedWeight int       // the weight that it had then
	Damping      Damping
	InCluster    InCluster
}

// Adopt is the state of a node that the kernel's table already has, at the weight it has there: it keeps that until its first reading.
func Adopt(weight int) State {
	return State{Adopted: true, Health: weight, RampWeight: weight, Weight: weight, Damping: Damping{Out: weight}, InCluster: InCluster{LastWeight: weight}}
}

// Join is the state of a node that joins a cluster which already runs.
func Join(now time.Time) State {
	return State{LastInPool: now}
}

// Step is one stage of a decision.
type Step struct {
	Name   string `json:"name"`
	In     int    `json:"in"`
	Out    int    `json:"out"`
	Reason string `json:"reason"`
}

// The names of the stages, in their order. Those from suspect on look at all nodes of a cluster, see Settle. File, damping, drain,
// suspect, mode and all down are left out where nothing asks for them.
const (
	StageReading  = "reading"
	StageFile     = "file"
	StageRiseFall = "rise/fall"
	StageRampUp   = "ramp-up"
	StageDamping  = "damping"
	StageCap      = "cap"
	StageFloor    = "floor"
	StageDrain    = "drain"
	StageSuspect  = "suspect"
	StageMode     = "mode"
	StageAllDown  = "all down"
)

// Node decides a node's weight, 0–65535, as far as the other nodes do not matter.
func Node(now time.Time, in Input, st State) (State, int, []Step) {
	set := in.Settings.sane()
	steps := make([]Step, 0, 6)
	add := func(s Step) int {
		steps = append(steps, s)
		return s.Out
	}
	st, step := readingStage(st, in.Reading)
	health := add(step)
	if in.Reading != nil {
		st = st.count(now, set, in.Pool, health)
	}
	st = st.undrain(now, set, in.Pool, in.Drain)
	own := riseFallStage(set, st, health)
	counted := own.Out
	ramps := !st.RampStart.IsZero()
	st, step = rampStage(now, set, in.Pool, st, counted)
	if in.Override.Kind == NoOverride {
		add(own)
		weight := add(step)
		if set.DeadBand > 1 || set.Slew > 0 {
			st.Damping, step = st.damp(now, set, weight, ramps)
			add(step)
		} else {
			st.Damping = Damping{}
		}
	} else {
		counted = add(fileStage(in.Override, health))
		st.RampStart, st.RampWeight, st.Damping = time.Time{}, own.Out, Damping{}
	}
	add(capStage(set, steps[len(steps)-1].Out))
	weight := add(floorStage(steps[len(steps)-1].Out, counted))
	if in.Drain != "" {
		weight = add(Step{Name: StageDrain, In: weight, Reason: "drained " + in.Drain})
	}
	return st.keep(now, set, in, weight), weight, steps
}

// keep remembers the outcome of a decision.
func (st State) keep(now time.Time, set Settings, in Input, weight int) State {
	st.ByOperator = in.Drain != "" || in.Override.Kind == OverrideDown || in.Override.Kind == NoOverride && st.LastReading.Forced && st.LastReading.Answered && st.LastReading.Health <= 0
	if in.Drain != "" || in.Override.Kind != NoOverride {
		st.FailedAt, st.FailedWeight = time.Time{}, 0
	}
	st.Weight = weight
	st.FailedWeight, st.InCluster.LastWeight = capped(set, st.FailedWeight), capped(set, st.InCluster.LastWeight)
	if weight > 0 {
		st.LastInPool = now
	}
	return st
}

// Steady tells whether the weight stays as it is until something else than time changes.
func (st State) Steady() bool {
	return st.RampStart.IsZero() && !st.Damping.Moving
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
		st.LastReading, st.HasReading = *r, true
	}
	step := Step{Name: StageReading, In: st.Health, Out: st.Health}
	switch {
	case !st.HasReading && st.Adopted:
		step.Reason = fmt.Sprintf("no reading yet, the kernel's table has %d", st.Health)
	case !st.HasReading:
		step.Reason = "no reading yet"
	case !st.LastReading.Answered:
		step.Reason = "no usable answer: " + st.LastReading.Detail
	default:
		step.In = st.LastReading.Health
		step.Out = min(max(step.In, 0), MaxWeight)
		step.Reason = "the node answered " + st.LastReading.Detail
		if step.In != step.Out {
			step.Reason += fmt.Sprintf("; a weight is 0 to %d", MaxWeight)
		}
	}
	return st, step
}

// fileStage gives the health that a cluster's up or down file puts in the place of every answer, as big_brother does. No poll is
// counted for it and nothing ramps: it counts at once, and so does its end.
func fileStage(f Override, health int) Step {
	step := Step{Name: StageFile, In: health, Reason: "the cluster's down file"}
	if f.Kind == OverrideUp {
		step.Out, step.Reason = upHealth, "the cluster's up file"
	}
	if f.Reason != "" {
		step.Reason += ": " + f.Reason
	}
	return step
}

// upHealth is the health of every node of a cluster that has an up file.
const upHealth = 100

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
		return fmt.Sprintf("failed: silent for %d polls in a row (fall = %d), %s", st.Misses, set.Fall, st.LastReading.Detail)
	case st.Successes > 0:
		return fmt.Sprintf("%d of %d good polls in a row: it does not count yet", st.Successes, set.Rise)
	case st.Misses > 0:
		return "down, and silent now: " + st.LastReading.Detail
	}
	return "down by the node's own word: " + st.LastReading.Detail
}

// count counts the reading that has just come in as a silent, a zero or a good poll.
func (st State) count(now time.Time, set Settings, pool Pool, health int) State {
	switch {
	case !st.LastReading.Answered:
		return st.silent(now, set)
	case health == 0:
		return st.zero()
	}
	return st.good(now, set, pool, health)
}

// silent takes in a poll without a usable answer.
func (st State) silent(now time.Time, set Settings) State {
	st.Successes = 0
	st.Misses++
	if st.Misses < set.Fall {
		return st
	}
	if st.Weight > 0 && (st.Phase == Up || st.Adopted) {
		st.FailedAt, st.FailedWeight = now, st.Weight
	}
	st.Phase, st.Health, st.Adopted = Down, 0, false
	return st
}

// zero takes in an answer of 0.
func (st State) zero() State {
	st.Successes, st.Misses, st.Health = 0, 0, 0
	st.Phase, st.Adopted = Down, false
	st.FailedAt, st.FailedWeight = time.Time{}, 0
	return st
}

// good takes in an answer above 0.
func (st State) good(now time.Time, set Settings, pool Pool, health int) State {
	st.Misses, st.Health = 0, health
	st.Successes = min(st.Successes+1, set.Rise)
	switch {
	case st.Phase == Up:
		return st
	case st.Phase == Down && st.Successes < set.Rise:
		return st
	}
	adopted := st.Adopted
	st.Phase, st.Adopted, st.RampStart = Up, false, time.Time{}
	st.FailedAt, st.FailedWeight = time.Time{}, 0
	switch {
	case set.RampUp <= 0:
	case st.InCluster.Held: // it had its weight all the time
	case adopted && st.RampWeight > 0:
		// Carry on where the last run of lb left off: as old as its weight says.
		if st.RampWeight < capped(set, health) {
			st.RampStart = now.Add(-share(set.RampUp, st.RampWeight, health))
		}
	case pool.protects(now, set, st):
		st.RampStart, st.RampWeight = now, 0
	}
	return st
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

// Name names the state as operators read it: unknown, drained, down, held, passive, ramping or up.
func (st State) Name() string {
	switch {
	case st.Drained:
		return "drained"
	case st.InCluster.Held:
		return "held"
	case st.Phase == Unknown:
		return "unknown"
	case st.Phase == Down:
		return "down"
	case st.InCluster.Passive:
		return "passive"
	case !st.RampStart.IsZero():
		return "ramping"
	}
	return "up"
}

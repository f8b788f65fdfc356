// Package decide computes each node's weight from its readings in named stages, and gives the reason for every stage.
package decide

import (
	"fmt"
	"time"
)

// MaxWeight is the largest weight that lb sets (16 bits).
const MaxWeight = 65535

// Settings are a cluster's configured weight rules.
type Settings struct {
	Rise      int           // consecutive good polls before a node that was down is up again; below 1 means 1
	Fall      int           // consecutive polls without a response before a node is down; below 1 means 1
	RampUp    time.Duration // time from weight 1 to the full weight; 0 means no ramp-up
	MaxWeight int           // upper limit of the weight; 0 means no limit
	WarmUp    time.Duration // nodes that come up within this time of their pool's first weight do not ramp
	DeadBand  int           // smaller changes of health, in points, are ignored; 0 and 1 ignore none
	Slew      int           // largest change of weight in points per second; 0 means no limit
}

// Reading is the result of one poll of a node, or of one event of its stream.
type Reading struct {
	At       time.Time
	Answered bool   // the node sent an HTTP response of any status
	Health   int    // 0 or more; 0 unless Answered
	Forced   bool   // an operator set the health on the agent; it was not measured
	Detail   string // a clause such as "agent reported health 92"; unless Answered, the error, such as "connection refused"
}

// OverrideKind says whether an override takes a cluster's nodes up or down.
type OverrideKind uint8

// The kinds of overrides.
const (
	NoOverride OverrideKind = iota
	OverrideUp
	OverrideDown
)

// Override is an operator's up or down file, which replaces the health of all nodes of a cluster. The zero Override replaces nothing.
type Override struct {
	Kind   OverrideKind
	Reason string // the beginning of the file's text; may be empty
}

// String is "up" or "down"; "" without an override.
func (o Override) String() string {
	switch o.Kind {
	case OverrideUp:
		return "up"
	case OverrideDown:
		return "down"
	}
	return ""
}

// Input is what a decision about a node depends on, besides its State.
type Input struct {
	Settings Settings
	Pool     Pool
	Override Override
	Drain    string   // who drains the node and why, such as "by kim: new disks"; "" means not drained
	Reading  *Reading // nil when only time has passed
}

// Phase says whether a node's health counts.
type Phase uint8

// The phases of a node.
const (
	Unknown Phase = iota // not enough readings yet
	Up                   // the health counts
	Down                 // it reported 0, or stopped responding
)

// State is what is remembered about a node between decisions. The zero State is a node that was in its cluster from the start.
type State struct {
	Phase        Phase
	LastReading  Reading
	HasReading   bool      // LastReading is set
	Health       int       // of the last response, 0–65535; in an adopted node without a reading, the kernel's weight
	Successes    int       // consecutive responses with a health above 0, at most Rise
	Misses       int       // consecutive polls without a response
	Adopted      bool      // taken over from the kernel's table, no reading yet
	RampStart    time.Time // zero: not ramping
	RampWeight   int       // the ramp-up stage's last output
	LastInPool   time.Time // when it last had weight, or joined a running cluster; zero: never
	Drained      bool
	ByOperator   bool      // a drain, a down file or a force on the agent keeps it at 0
	ForcedDown   bool      // its agent reported 0 by force, and neither went silent nor is up again since
	Weight       int       // the last output of Node
	FailedAt     time.Time // when it went down for lack of responses while it had weight; zero: it did not
	FailedWeight int       // the weight it had then
	Damping      Damping
	InCluster    InCluster
}

// Adopt returns the state of a node that is in the kernel's table already. It keeps the weight it has there until its first reading.
func Adopt(weight int) State {
	return State{
		Adopted: true, Health: weight, RampWeight: weight, Weight: weight, Damping: Damping{Weight: weight},
		InCluster: InCluster{LastWeight: weight},
	}
}

// Join returns the state of a node that joins a running cluster.
func Join(now time.Time) State {
	return State{LastInPool: now}
}

// Step is the result of one stage.
type Step struct {
	Name   string `json:"name"`
	In     int    `json:"in"`
	Out    int    `json:"out"`
	Reason string `json:"reason"`
}

// The names of the stages, in order. Node applies those up to drain, Cluster the rest. File, damping, drain, suspect, mode, all down
// and on failure appear only where they apply.
const (
	stageReading  = "reading"
	stageOverride = "file"
	stageRiseFall = "rise/fall"
	stageRampUp   = "ramp-up"
	stageDamping  = "damping"
	stageCap      = "cap"
	stageFloor    = "floor"
	stageDrain    = "drain"
	stageSuspect  = "suspect"
	stageMode     = "mode"
	stageAllDown  = "all down"
	stageFailure  = "on failure"
)

// Node decides a node's weight, 0–65535, without regard to the other nodes of its cluster.
func Node(now time.Time, in Input, st State) (State, int, []Step) {
	set := in.Settings.clamped()
	steps := make([]Step, 0, 6)
	add := func(s Step) int {
		steps = append(steps, s)
		return s.Out
	}
	st, step := readingStage(st, in.Reading)
	health := add(step)
	if in.Reading != nil {
		st = st.observe(now, set, in.Pool, health)
	}
	st = st.setDrained(now, set, in.Pool, in.Drain)
	riseFall := riseFallStage(set, st, health)
	counted := riseFall.Out
	ramps := !st.RampStart.IsZero()
	st, step = rampStage(now, set, in.Pool, st, counted)
	if in.Override.Kind == NoOverride {
		add(riseFall)
		weight := add(step)
		if set.DeadBand > 1 || set.Slew > 0 {
			st.Damping, step = st.damp(now, set, weight, ramps)
			add(step)
		} else {
			st.Damping = Damping{}
		}
	} else {
		counted = add(overrideStage(in.Override, health))
		st.RampStart, st.RampWeight, st.Damping = time.Time{}, riseFall.Out, Damping{}
	}
	add(capStage(set, steps[len(steps)-1].Out))
	weight := add(floorStage(steps[len(steps)-1].Out, counted))
	if in.Drain != "" {
		weight = add(Step{Name: stageDrain, In: weight, Reason: "drained " + in.Drain})
	}
	return st.decided(now, set, in, weight), weight, steps
}

// decided records the outcome of a decision.
func (st State) decided(now time.Time, set Settings, in Input, weight int) State {
	forcedDown := st.LastReading.Forced && st.LastReading.Answered && st.LastReading.Health <= 0
	st.ByOperator = in.Drain != "" || in.Override.Kind == OverrideDown || in.Override.Kind == NoOverride && forcedDown
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

// Steady reports whether time alone cannot change the weight.
func (st State) Steady() bool {
	return st.RampStart.IsZero() && !st.Damping.Moving
}

func (s Settings) clamped() Settings {
	s.Rise, s.Fall = max(s.Rise, 1), max(s.Fall, 1)
	return s
}

// readingStage stores the reading and returns the health known so far.
func readingStage(st State, r *Reading) (State, Step) {
	if r != nil {
		st.LastReading, st.HasReading = *r, true
	}
	step := Step{Name: stageReading, In: st.Health, Out: st.Health}
	switch {
	case !st.HasReading && st.Adopted:
		step.Reason = fmt.Sprintf("no reading yet: kernel weight is %d", st.Health)
	case !st.HasReading:
		step.Reason = "no reading yet"
	case !st.LastReading.Answered:
		step.Reason = "no response: " + st.LastReading.Detail
	default:
		step.In = st.LastReading.Health
		step.Out = min(max(step.In, 0), MaxWeight)
		step.Reason = st.LastReading.Detail
		if step.In != step.Out {
			step.Reason += fmt.Sprintf(", limited to 0–%d", MaxWeight)
		}
	}
	return st, step
}

// overrideStage replaces the health with the value of the cluster's up or down file, as big_brother does. It applies at once and without
// a ramp-up, and so does its removal.
func overrideStage(o Override, health int) Step {
	step := Step{Name: stageOverride, In: health, Reason: "cluster down file"}
	if o.Kind == OverrideUp {
		step.Out, step.Reason = upHealth, "cluster up file"
	}
	if o.Reason != "" {
		step.Reason += ": " + o.Reason
	}
	return step
}

// upHealth is the health that an up file gives every node.
const upHealth = 100

// riseFallStage returns the health if it counts, else 0.
func riseFallStage(set Settings, st State, health int) Step {
	step := Step{Name: stageRiseFall, In: health, Reason: riseFallReason(set, st)}
	if st.Phase == Up || st.Adopted {
		step.Out = health
	}
	return step
}

func riseFallReason(set Settings, st State) string {
	switch {
	case (st.Phase == Up || st.Adopted) && st.Misses > 0:
		return fmt.Sprintf("no response for %s (fall = %d): weight kept", polls(st.Misses), set.Fall)
	case st.Phase == Up:
		return reasonUp
	case st.Adopted:
		return "kernel weight kept until the first reading"
	case st.Phase == Unknown:
		return "no response yet: weight 0 until the first one"
	case st.Misses >= set.Fall:
		return fmt.Sprintf("no response for %s (fall = %d): %s", polls(st.Misses), set.Fall, st.LastReading.Detail)
	case st.Successes > 0:
		return fmt.Sprintf("%d of %d good polls (rise = %d): not up yet", st.Successes, set.Rise, set.Rise)
	case st.Misses > 0:
		return "down, and now no response: " + st.LastReading.Detail
	}
	return st.LastReading.Detail
}

func polls(n int) string {
	if n == 1 {
		return "1 poll"
	}
	return fmt.Sprintf("%d polls", n)
}

// observe counts a new reading towards rise or fall.
func (st State) observe(now time.Time, set Settings, pool Pool, health int) State {
	switch {
	case !st.LastReading.Answered:
		return st.missed(now, set)
	case health == 0:
		return st.reportedZero()
	}
	return st.reportedHealth(now, set, pool, health)
}

func (st State) missed(now time.Time, set Settings) State {
	st.Successes = 0
	st.Misses++
	if st.Misses < set.Fall {
		return st
	}
	if st.Weight > 0 && (st.Phase == Up || st.Adopted) {
		st.FailedAt, st.FailedWeight = now, st.Weight
	}
	st.Phase, st.Health, st.Adopted, st.ForcedDown = Down, 0, false, false
	return st
}

func (st State) reportedZero() State {
	st.Successes, st.Misses, st.Health = 0, 0, 0
	st.Phase, st.Adopted, st.ForcedDown = Down, false, st.LastReading.Forced
	st.FailedAt, st.FailedWeight = time.Time{}, 0
	return st
}

func (st State) reportedHealth(now time.Time, set Settings, pool Pool, health int) State {
	st.Misses, st.Health = 0, health
	st.Successes = min(st.Successes+1, set.Rise)
	switch {
	case st.Phase == Up:
		return st
	case st.Phase == Down && st.Successes < set.Rise:
		return st
	}
	adopted := st.Adopted
	st.Phase, st.Adopted, st.ForcedDown, st.RampStart = Up, false, false, time.Time{}
	st.FailedAt, st.FailedWeight = time.Time{}, 0
	switch {
	case set.RampUp <= 0:
	case st.InCluster.Held: // it had its weight all along
	case adopted && st.RampWeight > 0:
		// Continue the ramp-up of the previous process from the kernel's weight.
		if st.RampWeight < capped(set, health) {
			st.RampStart = now.Add(-rampTime(set.RampUp, st.RampWeight, health))
		}
	case pool.allowsRampUp(now, set, st):
		st.RampStart, st.RampWeight = now, 0
	}
	return st
}

func capStage(set Settings, weight int) Step {
	step := Step{Name: stageCap, In: weight, Out: capped(set, weight), Reason: "no max_weight"}
	if set.MaxWeight > 0 {
		step.Reason = fmt.Sprintf("max_weight is %d", set.MaxWeight)
	}
	return step
}

func floorStage(weight, counted int) Step {
	step := Step{Name: stageFloor, In: weight, Out: weight, Reason: "no minimum at 0"}
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

// Name returns the state as operators know it: unknown, drained, down, held, passive, ramping or up.
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

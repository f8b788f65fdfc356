package reconcile

// Trigger is the reason for a reconcile. Nothing else may start one: readers (status, metrics, plans, events) have no trigger.
type Trigger uint8

// The triggers. A reconcile needs no preparation: the first one adopts what the kernel runs, whatever its trigger.
const (
	Startup     Trigger = iota // the daemon has started
	Timer                      // an interval has passed since the last reconcile
	Reading                    // a reading changed a weight; at least MinGap after the last reconcile with this trigger
	Order                      // an operator starts or stops a cluster, or drains or resumes a node
	Network                    // the machine's network has changed: interfaces, addresses, forwarding
	NewServices                // a reload, first half: services appear and change while marks still lead to the old ones
	NewMarks                   // a reload, second half: marks change, then services that no mark leads to disappear
	Disturbance                // another program may have changed the nftables table with the marking rules
)

// marksPolicy says whether a reconcile includes the marking rules.
type marksPolicy uint8

const (
	whenDue marksPolicy = iota // MarkIntervals after the last time, or when that failed
	never
	always
	only // and nothing else
)

// MarkIntervals is the number of intervals between two reconciles of the marking rules.
const MarkIntervals = 5

// triggerRules lists how the triggers differ. TestTriggers lists the operations of each on the kernel.
var triggerRules = [...]struct {
	name   string
	marks  marksPolicy
	effect bool // what the marking rules achieve is checked, once per interval
}{
	Startup:     {"startup", whenDue, false},
	Timer:       {"timer", whenDue, true},
	Reading:     {"reading", whenDue, true},
	Order:       {"order", whenDue, false},
	Network:     {"network", whenDue, false},
	NewServices: {"new services", never, false},
	NewMarks:    {"new marks", always, false},
	Disturbance: {"disturbance", only, false},
}

// String names the trigger.
func (t Trigger) String() string { return triggerRules[t].name }

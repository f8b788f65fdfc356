package watch

import (
	"time"
)

const (
	// fastestHeartbeat is the shortest interval between heartbeats that a balancer asks for. With a shorter one a packet that is lost and
	// sent again (200 ms later, at the soonest) would be silence.
	fastestHeartbeat = 200 * time.Millisecond
	// heartbeatsPerInterval: a longer check_interval slows heartbeats down, too.
	heartbeatsPerInterval = 10
	// heartbeatsPerLease is how many heartbeats in a row must be missing before a node is polled.
	heartbeatsPerLease = 3

	// heartbeatCost is the processor time of one heartbeat in the balancer and its kernel, measured as in docs/performance.md.
	heartbeatCost = 20 * time.Microsecond
	// coresPerBudget: the heartbeats of all streams may cost one core in this many, which is 2 %.
	coresPerBudget = 50

	// slowdowns is how often the heartbeats of a node that is late are slowed down, each time to half the rate.
	slowdowns = 4
	// slowdownTime is how long a node keeps its slower heartbeats.
	slowdownTime = 5 * time.Minute

	// tolerance is by which share of a limit a busy processor may be late without consequences.
	tolerance = 10
	// leastLateness is what no timer is late for on an idle machine.
	leastLateness = 20 * time.Millisecond
)

// budgetedHeartbeat is the interval between heartbeats at which those of a number of streams cost 2 % of a core, or fastestHeartbeat if
// they cost less.
func budgetedHeartbeat(streams int) time.Duration {
	return max(fastestHeartbeat, time.Duration(streams)*heartbeatCost*coresPerBudget)
}

// pace is what heartbeats a balancer asks for.
type pace struct {
	asked   time.Duration // between two heartbeats
	slowest time.Duration // the longest acceptable time between two; at least asked
	limit   time.Duration // the longest lease
}

// pace returns what to ask of the node's agent. fleet is the interval that all streams can have; slowdown is how often the node's own
// was doubled.
func (t target) pace(fleet time.Duration, slowdown int) pace {
	limit := t.heartbeatTimeout()
	slowest := min(max(minTimeout(limit)/heartbeatsPerTimeout, minHeartbeat), maxHeartbeat).Truncate(time.Millisecond)
	asked := max(fleet, t.interval/heartbeatsPerInterval) << slowdown
	return pace{asked: min(asked.Truncate(time.Millisecond), slowest), slowest: slowest, limit: limit}
}

// lease is how long a stream may deliver nothing before the node is polled: three heartbeats, but no longer than two polls would take.
func (p pace) lease(granted time.Duration) time.Duration {
	return min(heartbeatsPerLease*max(granted, p.asked), p.limit)
}

// reachTimeout is how long the kernel of a node that was silent for a lease, or for one poll, may take to accept a connection.
func (t target) reachTimeout(lease time.Duration) time.Duration { return min(lease/2, t.timeout) }

// firstRetry is the reachTimeout after a poll that got no response.
func (t target) firstRetry() time.Duration {
	return t.reachTimeout(heartbeatsPerLease * max(fastestHeartbeat, t.interval/heartbeatsPerInterval))
}

// isLate reports whether something with a time limit took so much longer than that that this process was not running in the meantime.
// Then the limit says nothing about the other side.
func isLate(took, limit time.Duration) bool { return took > limit+max(limit/tolerance, leastLateness) }

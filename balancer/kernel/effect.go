package kernel

import (
	"context"
	"errors"
	"time"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

const (
	// lossIntervals is in how many intervals with traffic, in a row, packets have to be lost before that counts: one may be chance, such as
	// a scanner that a firewall blocks.
	lossIntervals = 2
	// lossPackets is how many have to be lost in them.
	lossPackets = 5
	// idleIntervals is after how many intervals without traffic nothing is known any more.
	idleIntervals = 60
	// effectCost bounds the time for reading counters to a part of all time.
	effectCost = 200
)

// Effect compares what the marking rules have marked with what has arrived at IPVS with the mark.
type Effect struct {
	rules mark.Table
	last  map[ruleKey]mark.Count // at the last Look
	runs  map[ruleKey]*run
	next  time.Time // no Look before that
	err   string    // of the last Look; "": none
}

// ruleKey is what counters are kept of.
type ruleKey struct {
	mark     ipvs.Mark
	protocol string
	port     uint16
}

// run is a series of intervals with traffic in which more than half of the packets were lost.
type run struct {
	intervals       int
	idle            int    // intervals without traffic since the last one with
	marked, arrived uint64 // in all of them
}

// Loss is packets that do not arrive at IPVS although the marking rules mark them. Of TCP only those count that open connections.
type Loss struct {
	Mark     ipvs.Mark
	Protocol string
	Port     uint16
	Marked   uint64 // since the loss began
	Arrived  uint64 // of them
}

// Look reads the counters, if an interval has passed, and returns the losses that stand, sorted. fresh is false if there is nothing new:
// what stood still stands.
func (e *Effect) Look(ctx context.Context, now time.Time, interval time.Duration) (losses []Loss, fresh bool) {
	if now.Before(e.next) {
		return nil, false
	}
	begun := time.Now()
	counts, err := e.rules.Counts(ctx)
	const tolerance = 4 // of a part of the interval, for timers
	e.next = now.Add(max(interval-interval/tolerance, effectCost*time.Since(begun)))
	e.err = text(err)
	if err != nil {
		return nil, false
	}
	last, runs := e.last, e.runs
	e.last, e.runs = make(map[ruleKey]mark.Count, len(counts)), map[ruleKey]*run{}
	for _, c := range counts {
		key := ruleKey{c.Mark, c.Protocol, c.Port}
		e.last[key] = c
		before, known := last[key]
		if !known || c.Marked < before.Marked || c.Arrived < before.Arrived {
			continue // counters made anew
		}
		if r := runs[key].after(c.Marked-before.Marked, c.Arrived-before.Arrived); r != nil {
			e.runs[key] = r
			if r.intervals >= lossIntervals && r.marked-r.arrived >= lossPackets {
				losses = append(losses, Loss{c.Mark, c.Protocol, c.Port, r.marked, r.arrived})
			}
		}
	}
	return losses, true
}

// after returns the run after one more interval; nil if it is over.
func (r *run) after(marked, arrived uint64) *run {
	switch {
	case marked == 0 && (r == nil || r.idle >= idleIntervals), marked > 0 && 2*arrived >= marked:
		return nil
	case marked == 0:
		return &run{r.intervals, r.idle + 1, r.marked, r.arrived}
	case r == nil:
		return &run{1, 0, marked, arrived}
	}
	return &run{r.intervals + 1, 0, r.marked + marked, r.arrived + arrived}
}

// Err is the error of the last Look; "" if it succeeded.
func (e *Effect) Err() string { return e.err }

// inspector is a table that knows what other programs have set up around it.
type inspector interface {
	Inspect(ctx context.Context, rules []mark.Rule) (mark.Inspection, error)
}

// Inspect finds out what can be the cause of losses.
func (e *Effect) Inspect(ctx context.Context, rules []mark.Rule) (mark.Inspection, error) {
	if table, able := e.rules.(inspector); able {
		return table.Inspect(ctx, rules)
	}
	return mark.Inspection{}, errNoInspector
}

var errNoInspector = errors.New("a table in memory has nothing around it")

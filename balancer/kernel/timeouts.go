package kernel

import (
	"context"
	"fmt"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Timeouts reconciles how long the kernel remembers connections without packets.
type Timeouts struct {
	kernel ipvs.TimeoutTable
	set    ipvs.Timeouts // as lb last set them, 0 for those that it did not: what differs at the next read, another program has changed
	err    string        // of the last Reconcile; "": none
	errors int
}

// Reconcile sets the timeouts that the configuration wants and returns what it changed. It leaves the others alone, also those that the
// configuration wanted before: what they were is not known.
func (o *Timeouts) Reconcile(ctx context.Context, configured config.Timeouts) []Change {
	wanted := ipvs.Timeouts(configured)
	if wanted == (ipvs.Timeouts{}) {
		o.set, o.err = wanted, ""
		return nil
	}
	changes, err := o.reconcile(ctx, wanted)
	o.err = text(err)
	if err != nil {
		o.errors++
		return nil
	}
	o.set = wanted
	return changes
}

func (o *Timeouts) reconcile(ctx context.Context, wanted ipvs.Timeouts) ([]Change, error) {
	actual, err := o.kernel.Timeouts(ctx)
	if err != nil {
		return nil, err
	}
	changes := timeoutChanges(actual, actual.With(wanted), o.set)
	if len(changes) == 0 {
		return nil, nil
	}
	return changes, o.kernel.SetTimeouts(ctx, wanted)
}

// Err is the error of the last Reconcile; "" if it succeeded.
func (o *Timeouts) Err() string { return o.err }

// onto returns a reconciler of timeouts in memory that knows how lb last set the timeouts.
func (o *Timeouts) onto(kernel ipvs.TimeoutTable) *Timeouts {
	return &Timeouts{kernel: kernel, set: o.set}
}

// timeoutChanges lists what differs between two states. What was set to the new value already is drift.
func timeoutChanges(old, wanted, set ipvs.Timeouts) []Change {
	var changes []Change
	for _, t := range []struct {
		name             string
		old, wanted, set time.Duration
	}{
		{"of open TCP connections", old.TCP, wanted.TCP, set.TCP},
		{"of TCP connections after a FIN", old.TCPFin, wanted.TCPFin, set.TCPFin},
		{"of UDP", old.UDP, wanted.UDP, set.UDP},
	} {
		if t.old != t.wanted {
			changes = append(changes, Change{
				Resource: ConnectionTimeouts, Text: fmt.Sprintf("timeout %s %s → %s", t.name, t.old, t.wanted), Drift: t.wanted == t.set,
			})
		}
	}
	return changes
}

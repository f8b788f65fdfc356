package balancer

import (
	"context"
	"log/slog"
	"time"

	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/netx/mark"
)

const (
	// watchRetry is how long lb waits before it follows nftables again after an error.
	watchRetry = 5 * time.Second
	// quietGaps is after how many gaps without a disturbance the next one counts as the first.
	quietGaps = 2
)

// disturbances are changes to the marking rules by other programs. The first one is repaired at once. While others follow, the gap
// between two repairs doubles, up to the interval of reconciles, so that a program that flushes all the time costs little.
type disturbances struct {
	marks mark.Table
	seen  chan struct{} // receives when another program may have changed the marking rules

	pending bool          // that has happened since the last repair
	last    time.Time     // end of the last repair
	gap     time.Duration // from last to the next repair
}

func newDisturbances(marks mark.Table) *disturbances {
	return &disturbances{marks: marks, seen: make(chan struct{}, 1)}
}

// watch fills seen, until ctx ends.
func (d *disturbances) watch(ctx context.Context, log *slog.Logger) {
	changed := func() {
		select {
		case d.seen <- struct{}{}:
		default: // one is pending
		}
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for ctx.Err() == nil {
		if err := d.marks.Watch(ctx, changed); err != nil {
			log.Warn("cannot follow changes of nftables by other programs; lb retries, and checks its rules now and then", "err", err)
		}
		retry.Reset(watchRetry)
		select {
		case <-ctx.Done():
		case <-retry.C:
		}
	}
}

// repair repairs the marking rules if that is due, and reports whether anything changed or failed.
func (d *disturbances) repair(ctx context.Context, rec *reconcile.Reconciler) bool {
	if !d.pending || time.Now().Before(d.last.Add(d.gap)) {
		return false
	}
	news := rec.Reconcile(ctx, reconcile.Disturbance)
	d.repaired(time.Now(), rec.Model.Interval(), rec.Kernel.Marks.Err() != "")
	return news
}

// repaired notes the end of a repair. One that failed is tried again.
func (d *disturbances) repaired(now time.Time, interval time.Duration, failed bool) {
	if d.last.IsZero() || now.Sub(d.last) > quietGaps*d.gap {
		d.gap = minGap
	} else {
		d.gap = min(2*d.gap, max(interval, minGap))
	}
	d.pending, d.last = failed, now
}

// orDue returns when the next repair is due, if that is before another time; otherwise that time.
func (d *disturbances) orDue(other time.Time) time.Time {
	if due := d.last.Add(d.gap); d.pending && due.Before(other) {
		return due
	}
	return other
}

package tunnelwatch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/braintree/lb/netx/tunnel"
)

// Run watches until ctx ends. While nothing is wanted it waits for Use.
func (w *Watcher) Run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	stop := func() {}
	defer func() { stop() }()
	active := false
	timer := time.NewTimer(slowLook)
	defer timer.Stop()
	var pace pace
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.wake:
			if !sleep(ctx, pace.delay(time.Now())) {
				return
			}
			select {
			case <-w.wake: // the look below covers it
			default:
			}
		}
		if wanted := !w.Status().none(); wanted != active {
			active = wanted
			stop()
			following.Wait()
			if active {
				following.Go(w.follow(ctx, &stop))
			}
		}
		if !active {
			timer.Stop()
			continue
		}
		timer.Reset(w.look(ctx))
		pace.looked(time.Now())
	}
}

// follow returns a function that receives the kernel's notifications until ctx ends or stop is called.
func (w *Watcher) follow(ctx context.Context, stop *func()) func() {
	ctx, *stop = context.WithCancel(ctx)
	return func() {
		logged := ""
		for ctx.Err() == nil {
			if err := w.kernel.Watch(ctx, w.notify); err != nil && err.Error() != logged {
				logged = err.Error()
				w.log.Warn("no notifications of changes to the tunnel: they are noticed later", "within", slowLook, "err", err)
			}
			sleep(ctx, slowLook)
		}
	}
}

// sleep waits, and reports whether ctx is still open.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// pace spaces looks out. A burst of notifications costs a few looks, an endless one about one each second.
type pace struct {
	last time.Time     // the latest look
	gap  time.Duration // from it to the next
}

// delay is the time from a notification to its look.
func (p *pace) delay(now time.Time) time.Duration {
	if now.Sub(p.last) > quiet {
		p.gap = 0
	}
	return max(settle, p.last.Add(p.gap).Sub(now))
}

// looked records a look.
func (p *pace) looked(now time.Time) {
	if now.Sub(p.last) > quiet {
		p.gap = 0
	}
	p.last, p.gap = now, min(max(minGap, 2*p.gap), maxGap)
}

// look compares the tunnel with what is wanted and repairs it. It returns the time until the next look.
func (w *Watcher) look(ctx context.Context) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.status.LastDrift.At) > quiet {
		w.streak = 0
	}
	faults, err := w.faults(ctx)
	if err != nil {
		w.logFailure(ctx, err)
		return w.again()
	}
	if len(faults) > 0 {
		return w.handle(ctx, faults, now)
	}
	w.right, w.retry = true, 0
	if w.streak >= unstableAfter && !w.status.WatchOnly {
		return w.status.LastDrift.At.Add(quiet).Sub(now) + 1 // its fault stays until then
	}
	return w.recovered()
}

// recovered clears the faults. The caller holds mu.
func (w *Watcher) recovered() time.Duration {
	if len(w.status.Faults) > 0 || w.failure != "" {
		w.log.Info("tunnel is right again", "vips", w.status.VIPs)
	}
	w.failure = ""
	w.setFaults(nil)
	return slowLook
}

// handle deals with faults that a look has found. The caller holds mu.
func (w *Watcher) handle(ctx context.Context, faults []tunnel.Fault, now time.Time) time.Duration {
	if w.right {
		w.drifted(faults, now)
	}
	w.right = false
	if w.status.WatchOnly {
		w.setFaults(faults)
		return slowLook
	}
	_, err := w.kernel.Up(ctx, w.status.Desired)
	remaining, lookErr := w.faults(ctx)
	switch {
	case lookErr != nil:
		remaining, err = faults, lookErr
	case err == nil && len(remaining) > 0:
		err = fmt.Errorf("repaired, but changed again at once: %s", tunnel.Describe(remaining))
	}
	if len(remaining) > 0 {
		w.setFaults(remaining)
		w.logFailure(ctx, err)
		return w.again()
	}
	w.right, w.retry = true, 0
	if w.streak >= unstableAfter {
		w.setFaults([]tunnel.Fault{{
			Text: "another program keeps changing the tunnel: " + tunnel.Describe(faults), VIPs: affected(faults),
		}})
		return quiet + 1
	}
	return w.recovered()
}

// drifted records a change by another program. It logs the first of a row and then ever fewer. The caller holds mu.
func (w *Watcher) drifted(faults []tunnel.Fault, now time.Time) {
	w.status.Drifts++
	w.status.LastDrift = Drift{At: now, What: tunnel.Describe(faults)}
	w.streak++
	if w.streak&(w.streak-1) == 0 {
		w.log.Warn("another program changed the tunnel", "fault", w.status.LastDrift.What, "vips", affected(faults),
			"in_a_row", w.streak, "repair", !w.status.WatchOnly)
	}
}

// logFailure logs a failure once. The caller holds mu.
func (w *Watcher) logFailure(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || err.Error() == w.failure {
		return
	}
	w.failure = err.Error()
	w.log.Error("cannot repair the tunnel", "err", err)
}

// again returns the time until a failed look or repair is tried again. The caller holds mu.
func (w *Watcher) again() time.Duration {
	w.retry = min(max(firstRetry, 2*w.retry), slowLook)
	return w.retry
}

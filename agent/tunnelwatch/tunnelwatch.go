// Package tunnelwatch keeps this machine's tunnel as it is wanted: it notices what other programs change, repairs it, and says
// which virtual IPs get no packets meanwhile.
package tunnelwatch

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/braintree/lb/netx/tunnel"
)

const (
	// slowLook is the time between looks without a notification. It is for what the kernel does not notify of, such as a
	// sysctl written through another mount of /proc.
	slowLook = 30 * time.Second
	// settle is the delay of a look after a notification: programs make several changes in a row.
	settle = 20 * time.Millisecond
	// minGap and maxGap bound the time between looks, which doubles as long as notifications keep coming. maxGap bounds how
	// long a change goes unnoticed.
	minGap = 100 * time.Millisecond
	maxGap = 800 * time.Millisecond
	// quiet is how long nothing must happen before the gap is minGap again and repeated changes are forgotten.
	quiet = 10 * time.Second
	// unstableAfter is how many changes in a row make the tunnel count as faulty although each one was repaired: packets
	// are lost between a change and its repair.
	unstableAfter = 5
	// firstRetry is the time until a failed repair is tried again. It doubles up to slowLook.
	firstRetry = time.Second
)

// Kernel reads and changes the machine's tunnel. *tunnel.Setup is the real one.
type Kernel interface {
	Up(ctx context.Context, desired tunnel.Desired) ([]tunnel.Step, error)
	State(ctx context.Context) (tunnel.State, error)
	Watch(ctx context.Context, changed func()) error
}

// Wanted is what the watcher watches over.
type Wanted struct {
	tunnel.Desired
	WatchOnly bool // someone else set the tunnel up and repairs it
}

// none reports whether there is nothing to watch.
func (w Wanted) none() bool { return len(w.VIPs) == 0 }

// Status is the state of the tunnel.
type Status struct {
	Wanted
	Faults    []tunnel.Fault // what keeps packets from clients; none: all is right
	Drifts    uint64         // changes by other programs since the start
	LastDrift Drift          // zero: none
}

// Drift is a change by another program.
type Drift struct {
	At   time.Time
	What string
}

// Watcher watches over the tunnel.
type Watcher struct {
	kernel  Kernel
	log     *slog.Logger
	publish func(Status)
	wake    chan struct{} // buffers one: something may have changed

	mu       sync.Mutex // protects the fields below and serializes access to the kernel; held during publish
	status   Status
	right    bool            // the tunnel was right after the latest look or repair
	accepted map[string]bool // suspected faults of a foreign tunnel that were there from the beginning
	streak   int             // drifts in a row
	retry    time.Duration   // until the next look if a repair failed
	failure  string          // last logged failure; "": none
}

// New returns a watcher, which calls publish when the faults have changed, and in Use.
func New(kernel Kernel, log *slog.Logger, publish func(Status)) *Watcher {
	return &Watcher{kernel: kernel, log: log, publish: publish, wake: make(chan struct{}, 1)}
}

// Status returns the state after the latest look.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Use changes what is wanted and sets it up; without virtual IPs it watches nothing, and leaves the tunnel as it is. After an
// error, the watcher keeps trying.
func (w *Watcher) Use(ctx context.Context, want Wanted) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.notify()
	defer func() { w.publish(w.status) }()
	if !reflect.DeepEqual(w.status.Wanted, want) {
		w.accepted = nil
	}
	w.status.Wanted, w.right, w.streak, w.retry = want, false, 0, 0
	if want.none() {
		w.status.Faults = nil
		return nil
	}
	var err error
	if !want.WatchOnly {
		_, err = w.kernel.Up(ctx, want.Desired)
	}
	faults, lookErr := w.faults(ctx)
	if err == nil {
		err = lookErr
	}
	if lookErr == nil {
		w.right = len(faults) == 0
		w.status.Faults = faults
	}
	if err == nil && len(faults) > 0 {
		w.log.Warn("tunnel is not right", "faults", tunnel.Describe(faults))
	}
	return err
}

// notify makes Run look.
func (w *Watcher) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // Run has not received the previous one yet
	}
}

// faults reads the tunnel's state and returns what is wrong with it. The caller holds mu.
func (w *Watcher) faults(ctx context.Context) ([]tunnel.Fault, error) {
	state, err := w.kernel.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the tunnel's state: %w", err)
	}
	want := w.status.Wanted
	if !want.WatchOnly {
		return tunnel.Faults(state, want.Desired), nil
	}
	faults, suspected := tunnel.ForeignFaults(state, want.Desired)
	first := w.accepted == nil
	accepted := map[string]bool{}
	for _, s := range suspected {
		switch {
		case first:
			w.log.Warn("not watched, because it is not as lb would set it up: make sure that it is handled otherwise", "fault", s.Text)
			accepted[s.Text] = true
		case w.accepted[s.Text]:
			accepted[s.Text] = true
		default:
			faults = append(faults, s)
		}
	}
	w.accepted = accepted
	return faults, nil
}

// setFaults publishes the faults if they have changed. The caller holds mu.
func (w *Watcher) setFaults(faults []tunnel.Fault) {
	if len(faults) == 0 && len(w.status.Faults) == 0 || reflect.DeepEqual(faults, w.status.Faults) {
		return
	}
	w.status.Faults = faults
	w.publish(w.status)
}

// affected returns the virtual IPs of faults.
func affected(faults []tunnel.Fault) []netip.Addr {
	var vips []netip.Addr
	for _, f := range faults {
		vips = append(vips, f.VIPs...)
	}
	return vips
}

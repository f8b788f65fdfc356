package watch

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/netx/sse"
)

const (
	// leastEvent is how long the shortest event "health" is, in bytes. What is shorter need not be read at once: the heartbeats of a lease are.
	leastEvent = len(`event:health` + "\n" + `data:{"service":"x","health":0}` + "\n\n")
	// leaseSteps: a lease ends at a moment that is a multiple of this part of it, so that many streams share a wake-up. It is that much shorter at most.
	leaseSteps = 10
)

// holding has the kernel keep a stream's heartbeats until an event comes: else each of them would wake the balancer only to be thrown away. While it is
// on, Leases looks after the lease.
type holding struct {
	conn   *bounded
	raw    syscall.RawConn // of conn
	lease  time.Duration
	leases *HeartbeatMonitor
	heard  func(at time.Time) // is told of signs of life

	// mu protects what follows, and what lies in conn.ahead while on is true: the stream's goroutine and that of Leases read from the socket then. Only the
	// stream's own changes on.
	mu      sync.Mutex
	on      bool
	over    bool      // the lease is
	checked time.Time // the last time; it was heard of before
	room    [2 * leastEvent]byte

	look       func(fd uintptr) // takes what is there, and says so in
	came, more bool             // what take says
}

// newHolding is for a connection whose heartbeats can be held back; nil where it is no socket.
func newHolding(c *bounded, lease time.Duration, leases *HeartbeatMonitor, heard func(at time.Time)) *holding {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	h := &holding{conn: c, raw: raw, lease: lease, leases: leases, heard: heard}
	h.look = func(fd uintptr) { h.came, h.more = h.take(fd) }
	return h
}

// begin has heartbeats held back from here on. Where the kernel refuses, everything is read at once.
func (h *holding) begin() {
	h.mu.Lock()
	h.on = h.conn.SetReadDeadline(time.Time{}) == nil && h.wakeAt(leastEvent) == nil
	h.over, h.checked = false, time.Now()
	h.mu.Unlock()
	if h.on {
		h.leases.add(h)
	}
}

// wakeAt sets how many bytes have to have come before the kernel wakes who waits for them.
func (h *holding) wakeAt(bytes int) error {
	var refused error
	err := h.raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) })
	return errors.Join(err, refused)
}

// wait waits for more than heartbeats, or the connection's end, which who reads next is told, and ends the holding back. It fails when the lease is over.
func (h *holding) wait() error {
	err := h.raw.Read(func(fd uintptr) bool { // asked at once, for what came before this Read began does not wake it, and again when woken
		h.mu.Lock()
		defer h.mu.Unlock()
		_, more := h.take(fd)
		return more
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.on = false
	if h.over && err != nil && late(err) {
		return errLease
	}
	return h.wakeAt(1)
}

// take takes heartbeats that lie there out of the kernel, so that they never add up to the length of an event. It tells whether any byte came, and
// whether there is more for who reads next: bytes, that come first then, or the connection's end. mu is held.
func (h *holding) take(fd uintptr) (came, more bool) {
	for n := len(h.room); n == len(h.room) && len(h.conn.ahead) == 0; {
		var err error
		n, err = unix.Read(int(fd), h.room[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return came, false
		case err != nil || n == 0:
			return came, true
		case sse.LeadingComments(h.room[:n]) < n:
			h.conn.ahead = h.room[:n]
		}
		came = true
	}
	return came, len(h.conn.ahead) > 0
}

// check finds out whether the stream lives, and tells when to do so again; the zero time is never, for its lease is over. That something came since the
// last check mostly says enough; else the kernel is asked for the time.
func (h *holding) check() (next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, at := time.Now(), h.checked
	h.checked = now
	if !h.on {
		return h.moment(now, now) // its own goroutine reads, and knows how long it may
	}
	h.came, h.more = false, true
	_ = h.raw.Control(h.look) // where it fails, the connection is closed: more it is
	if h.more {
		h.wake()
		return h.moment(now, now)
	}
	if !h.came || !h.shared(at).After(now) {
		silence, err := h.silence()
		if err != nil || silence >= shortest(h.lease) {
			h.over = true
			h.wake()
			return time.Time{}
		}
		at = now.Add(-silence)
	}
	h.heard(at)
	return h.moment(now, at)
}

// wake ends wait.
func (h *holding) wake() {
	_ = h.conn.SetReadDeadline(time.Unix(1, 0)) // it fails where there is nobody to wake: the connection is closed
}

// silence is for how long nothing was received, by the kernel's clock.
func (h *holding) silence() (time.Duration, error) {
	var info *unix.TCPInfo
	var refused error
	err := h.raw.Control(func(fd uintptr) { info, refused = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(err, refused); err != nil {
		return 0, err
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond, nil
}

// moment is when to check a stream that was heard of at that time: at the last moment before its lease is over that all streams share, and if that is past,
// then at its end.
func (h *holding) moment(now, heard time.Time) time.Time {
	if shared := h.shared(heard); shared.After(now) {
		return shared
	}
	return AlignDown(heard.Add(h.lease), h.lease/leaseSteps)
}

func (h *holding) shared(heard time.Time) time.Time { return AlignDown(heard.Add(h.lease), h.lease/2) }

// shortest is how long a lease is at least.
func shortest(lease time.Duration) time.Duration { return lease - lease/leaseSteps }

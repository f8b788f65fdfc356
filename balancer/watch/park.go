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
	// minEventSize is the length of the shortest "health" event, in bytes. The heartbeats of one timeout are shorter, so they need not
	// be read at once.
	minEventSize = len(`event:health` + "\n" + `data:{"service":"x","health":0}` + "\n\n")
	// timeoutSteps: a heartbeat timeout ends on a multiple of this fraction of it, so that many streams share a wake-up. It is shorter
	// by one such step at most.
	timeoutSteps = 10
)

// parking keeps a stream's heartbeats in the kernel until an event arrives (SO_RCVLOWAT); otherwise each of them would wake the
// balancer only to be discarded. While a stream is parked, HeartbeatMonitor watches its timeout.
type parking struct {
	conn    *limitedConn
	raw     syscall.RawConn // of conn
	timeout time.Duration   // without a heartbeat
	parkedLife

	// mu protects the fields below, and conn.unread while parked is true: the goroutines of the stream and of the monitor both read
	// from the socket then. Only the stream's goroutine changes parked.
	mu        sync.Mutex
	parked    bool
	ended     error     // why the monitor ended the parking: errNoHeartbeat, errPace; nil: it did not
	lastCheck time.Time // when check last ran, or park did
	buffer    [2 * minEventSize]byte

	// discard calls discardHeartbeats and stores its results. It is a field so that check allocates nothing.
	discard           func(fd uintptr)
	received, pending bool
}

// parkedLife is who watches a parked stream, and what is done then. The functions are called from the monitor's goroutine.
type parkedLife struct {
	monitor     *HeartbeatMonitor
	onHeartbeat func(at time.Time)
	outdated    func(now time.Time) bool // whether the stream is to be opened again, at another pace
}

// newParking returns nil for a connection that is not a socket.
func newParking(c *limitedConn, timeout time.Duration, life parkedLife) *parking {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	p := &parking{conn: c, raw: raw, timeout: timeout, parkedLife: life}
	p.discard = func(fd uintptr) { p.received, p.pending = p.discardHeartbeats(fd) }
	return p
}

// park makes the kernel hold heartbeats back from now on. When it refuses, the stream is not parked and reads everything at once.
func (p *parking) park() {
	p.mu.Lock()
	p.parked = p.conn.SetReadDeadline(time.Time{}) == nil && p.setLowWater(minEventSize) == nil
	p.ended, p.lastCheck = nil, time.Now()
	p.mu.Unlock()
	if p.parked {
		p.monitor.add(p)
	}
}

// setLowWater sets how many bytes must be in the socket's buffer before the kernel wakes a reader.
func (p *parking) setLowWater(bytes int) error {
	var optErr error
	err := p.raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) })
	return errors.Join(err, optErr)
}

// wait waits for more than heartbeats or for the connection's end, both of which the next read returns, and ends the parking. It
// fails when the monitor has ended it.
func (p *parking) wait() error {
	// raw.Read calls the function once at the start, as nothing wakes it for bytes that are there already, and after each wake-up.
	err := p.raw.Read(func(fd uintptr) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, pending := p.discardHeartbeats(fd)
		return pending
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parked = false
	if p.ended != nil && err != nil && isTimeout(err) {
		return p.ended
	}
	return p.setLowWater(1)
}

// discardHeartbeats removes heartbeats from the kernel's buffer, so that they never add up to the length of an event. It reports
// whether any byte was received, and whether something is pending for the next read: other bytes, now in conn.unread, or the
// connection's end. The caller holds mu.
func (p *parking) discardHeartbeats(fd uintptr) (received, pending bool) {
	for n := len(p.buffer); n == len(p.buffer) && len(p.conn.unread) == 0; {
		var err error
		n, err = unix.Read(int(fd), p.buffer[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return received, false
		case err != nil || n == 0:
			return received, true
		case sse.LeadingComments(p.buffer[:n]) < n:
			p.conn.unread = p.buffer[:n]
		}
		received = true
	}
	return received, len(p.conn.unread) > 0
}

// check checks whether the stream is alive and returns the time of the next check; zero: never, it timed out. Usually it is enough
// to know that something was received since the last check. Otherwise it asks the kernel when that was. late is how late the check is:
// time in which this process, and perhaps its machine, was stopped says nothing about the node.
func (p *parking) check(late time.Duration) (next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, at := time.Now(), p.lastCheck
	p.lastCheck = now
	if !p.parked {
		return p.nextCheck(now, now) // its own goroutine is reading, with a deadline
	}
	if p.outdated(now) {
		p.end(errPace)
		return p.nextCheck(now, now)
	}
	p.received, p.pending = false, true
	_ = p.raw.Control(p.discard) // fails on a closed connection: pending stays true
	if p.pending {
		p.unpark()
		return p.nextCheck(now, now)
	}
	if p.received && p.commonCheck(at).After(now) {
		p.onHeartbeat(at)
		return p.nextCheck(now, at)
	}
	idle, err := p.idleTime()
	silence := countedSilence(idle, late, p.timeout)
	if err != nil || silence >= minTimeout(p.timeout) {
		p.end(errNoHeartbeat)
		return time.Time{}
	}
	p.onHeartbeat(now.Add(-idle))
	return p.nextCheck(now, now.Add(-silence))
}

// countedSilence is how much of the time without a heartbeat counts when it was found out that late.
func countedSilence(idle, late, timeout time.Duration) time.Duration {
	if late < timeout/(2*timeoutSteps) {
		return idle
	}
	return max(idle-late, 0)
}

// end ends wait with an error. The caller holds mu.
func (p *parking) end(why error) {
	p.ended = why
	p.unpark()
}

// unpark ends wait.
func (p *parking) unpark() {
	_ = p.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, which ends wait itself
}

// idleTime returns for how long nothing was received, by the kernel's clock.
func (p *parking) idleTime() (time.Duration, error) {
	info, err := tcpInfo(p.raw)
	if err != nil {
		return 0, err
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond, nil
}

// nextCheck returns when to check a stream that last received something at received: the last common time before its timeout, or its
// timeout if that time is past.
func (p *parking) nextCheck(now, received time.Time) time.Time {
	if common := p.commonCheck(received); common.After(now) {
		return common
	}
	return AlignDown(received.Add(p.timeout), p.timeout/timeoutSteps)
}

func (p *parking) commonCheck(received time.Time) time.Time {
	return AlignDown(received.Add(p.timeout), p.timeout/2)
}

// minTimeout is the shortest time after which a heartbeat timeout can end.
func minTimeout(timeout time.Duration) time.Duration { return timeout - timeout/timeoutSteps }

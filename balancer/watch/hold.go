package watch

import (
	"errors"
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

// holding has the kernel keep a stream's heartbeats until an event comes, or the lease is over: else each of them would wake the balancer only to be
// thrown away. Its zero value holds nothing.
type holding struct {
	conn *bounded
	raw  syscall.RawConn // of conn; nil where that is no socket
	on   bool
	room [2 * leastEvent]byte
}

func holdingOf(c *bounded) holding {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return holding{}
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return holding{}
	}
	return holding{conn: c, raw: raw}
}

// set begins or ends holding back. Where the kernel refuses, everything is read at once.
func (h *holding) set(on bool) {
	on = on && h.raw != nil
	if h.on == on {
		return
	}
	least := 1
	if on {
		least = leastEvent
	}
	var refused error
	err := h.raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, least) })
	h.on = on && err == nil && refused == nil
}

// wait waits for more than heartbeats, or the connection's end. Heartbeats that lie there are taken out of the kernel, so that they never add up to
// the length of an event; what it took beside them comes first for who reads next.
func (h *holding) wait() error {
	return h.raw.Read(func(fd uintptr) bool { // asked at once, for what came before this Read began does not wake it, and again when woken
		for n := len(h.room); n == len(h.room); {
			var err error
			n, err = unix.Read(int(fd), h.room[:])
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil || n == 0:
				return true // who reads next is told
			case sse.Comments(h.room[:n]) < n:
				h.conn.ahead = h.room[:n]
				return true
			}
		}
		return false
	})
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

// leaseEnd is until when Next waits while heartbeats are held back.
func (s *Stream) leaseEnd() time.Time {
	end := s.last.At.Add(s.lease)
	return end.Add(-time.Duration(end.UnixNano() % int64(s.lease/leaseSteps)))
}

// shortest is how long a lease is at least.
func shortest(lease time.Duration) time.Duration { return lease - lease/leaseSteps }

// Hold tells whether only news matter from here on, and heartbeats just have to come: then they wake nobody. What has been read already comes first,
// for the rest of an event must not be held back.
func (s *Stream) Hold(on bool) {
	if s.in.Buffered() == 0 {
		s.held.set(on)
	}
}

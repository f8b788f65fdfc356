package watch

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/balancer/decide"
)

const (
	// leastEvent is how long the shortest event "health" is, in bytes. What is shorter need not be read at once: three heartbeats of an agent are.
	leastEvent = len(`event:health` + "\n" + `data:{"service":"x","health":0}` + "\n\n")
	// leaseStep is what the ends of leases are rounded up to, so that many streams share a wake-up.
	leaseStep = 20 * time.Millisecond
	// mostUnread is for how many leases a stream may live by bytes that did not make up a whole event or comment.
	mostUnread = 4
)

// holding has the kernel keep a stream's heartbeats until an event comes, or the lease is over: else each of them would wake the balancer only to be
// thrown away. Its zero value holds nothing.
type holding struct {
	raw      syscall.RawConn // of the connection; nil where that is no socket
	on       bool
	restless bool      // the stream has been read in vain: nothing is held any more
	read     time.Time // when something whole was read last
}

func holdingOf(c net.Conn) holding {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return holding{}
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return holding{}
	}
	return holding{raw: raw}
}

// set begins or ends holding back. Where the kernel refuses, everything is read at once.
func (h *holding) set(on bool) {
	on = on && !h.restless && h.raw != nil
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

// silence is for how long nothing has been received, by the kernel's clock, whether it was read or not.
func (h *holding) silence() (time.Duration, bool) {
	var info *unix.TCPInfo
	var refused error
	err := h.raw.Control(func(fd uintptr) { info, refused = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil || refused != nil {
		return 0, false
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond, true
}

// wait waits for more than heartbeats, or the connection's end, and reads nothing: a read would take what is held back.
func (h *holding) wait() error {
	return h.raw.Read(func(fd uintptr) bool { // asked at once, for what came before this Read began does not wake it, and again when woken
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}, 0)
		return n != 0 || err != nil
	})
}

// leaseEnd is until when Next waits while heartbeats are held back.
func (s *Stream) leaseEnd() time.Time {
	end := s.last.At.Add(s.lease)
	return end.Add(leaseStep - time.Duration(end.UnixNano()%int64(leaseStep)))
}

// overdue decides when there was nothing to read for a lease: what the kernel holds back is a sign of life too. But that it is more than bytes
// without an end is known only once it is read.
func (s *Stream) overdue(now time.Time) (decide.Reading, bool, error) {
	silence, known := s.held.silence()
	if !known || silence >= s.lease {
		return decide.Reading{}, false, errLease
	}
	if now.Sub(s.held.read) >= mostUnread*s.lease {
		s.held.restless = true
		s.held.set(false)
	}
	s.last.At = now.Add(-silence)
	return s.last, false, nil
}

// Hold tells whether only news matter from here on, and heartbeats just have to come: then they wake nobody. What has been read already comes first,
// for the rest of an event must not be held back.
func (s *Stream) Hold(on bool) {
	if s.frames.in.Buffered() == 0 {
		s.held.set(on)
	}
}

package watch

import (
	"errors"
	"net"
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
	raw syscall.RawConn // of the connection; nil where that is no socket
	on  bool
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

// wait waits for more than heartbeats, or the connection's end, and reads nothing: a read would take what is held back.
func (h *holding) wait() error {
	return h.raw.Read(func(fd uintptr) bool { // asked at once, for what came before this Read began does not wake it, and again when woken
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}, 0)
		return n != 0 || err != nil
	})
}

// heard is what is known of a stream in which nothing came that wakes.
type heard struct {
	silence time.Duration // for so long nothing was received, by the kernel's clock
	other   bool          // beside whole heartbeats something lies there
}

// listen finds out what was received, and takes heartbeats out of the kernel, so that they never add up to the length of an event.
func (h *holding) listen() (heard, error) {
	var got heard
	var refused error
	err := h.raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, refused = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); refused != nil {
			return
		}
		got.silence = time.Duration(info.Last_data_recv) * time.Millisecond
		unread := make([]byte, 2*leastEvent)
		n, _, err := unix.Recvfrom(int(fd), unread, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if got.other = err != nil || n == 0 || sse.Comments(unread[:n]) < n; !got.other {
			_, refused = unix.Read(int(fd), unread[:n])
		}
	})
	return got, errors.Join(err, refused)
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

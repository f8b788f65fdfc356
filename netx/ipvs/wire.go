package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// answerBuffer is the size of the socket's buffer for answers: one of a failed message takes up about a kilobyte there.
	answerBuffer = 1 << 20

	// answerSize is more than an answer has, which does not repeat the message that it is for.
	answerSize = 4 << 10
)

// errLost says that the kernel's answer to a message went missing.
var errLost = errors.New("the kernel's answer was lost, so nobody knows whether this was done: read the table again")

// wire is a socket by which messages go to IPVS, many in one system call. It is not for several goroutines at once.
type wire struct {
	fd       int
	sequence uint32 // of the last message
	out      attributes
	in       []byte
}

// openWire opens the socket, in the network namespace of the calling thread.
func openWire() (*wire, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // an answer need not repeat the message that it is for
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, answerBuffer),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("generic netlink: %w", err), unix.Close(fd))
	}
	return &wire{fd: fd, in: make([]byte, answerSize)}, nil
}

func (w *wire) close() error { return unix.Close(w.fd) }

// exchange sends messages to IPVS in one system call and gives the kernel's answer to each; body writes what the i-th one says. The
// kernel works through them in order, whatever becomes of one, and answers those that fail; the last one asks for an answer in
// any case, which ends it. All answers have come when the system call returns.
func (w *wire) exchange(family uint16, count int, body func(b attributes, i int) attributes) []error {
	errs := make([]error, count)
	first := w.sequence + 1
	w.out = w.out[:0]
	for i := range count {
		flags := uint16(unix.NLM_F_REQUEST)
		if i == count-1 {
			flags |= unix.NLM_F_ACK
		}
		start := len(w.out)
		w.sequence++
		w.out = append(w.out, 0, 0, 0, 0) // the length, see below
		w.out = binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(w.out, family), flags)
		w.out = binary.NativeEndian.AppendUint32(w.out, w.sequence)
		w.out = append(w.out, 0, 0, 0, 0) // the sender: the kernel knows
		w.out = body(w.out, i)
		binary.NativeEndian.PutUint32(w.out[start:], uint32(len(w.out)-start))
	}
	if err := unix.Sendto(w.fd, w.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := w.receive(func(sequence uint32, err error) (last bool) {
		i := int(int32(sequence - first)) // outside: of an earlier exchange, whose answers were too many
		if i < 0 || i >= count {
			return false
		}
		errs[i] = err
		return i == count-1
	}); err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
	}
	return errs
}

// receive hands on the answers that wait, until one is the last. Its own error is that of answers that are lost.
func (w *wire) receive(answer func(sequence uint32, err error) (last bool)) error {
	lost := false
	for {
		n, _, err := unix.Recvfrom(w.fd, w.in, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			lost = true // what did fit in can still be read
			continue
		case errors.Is(err, unix.EAGAIN):
			return errLost
		case err != nil:
			return fmt.Errorf("%w (%w)", errLost, err)
		}
		answers, err := syscall.ParseNetlinkMessage(w.in[:n])
		if err != nil {
			return fmt.Errorf("%w (%w)", errLost, err)
		}
		for _, a := range answers {
			if a.Header.Type != unix.NLMSG_ERROR || len(a.Data) < 4 {
				continue
			}
			if answer(a.Header.Seq, errorOf(a.Data)) {
				if lost {
					return errLost
				}
				return nil
			}
		}
	}
}

// errorOf reads the answer to a message: the errno as a negative number, 0 for success (struct nlmsgerr of linux/netlink.h).
func errorOf(data []byte) error {
	if number := int32(binary.NativeEndian.Uint32(data)); number != 0 {
		return unix.Errno(-number)
	}
	return nil
}

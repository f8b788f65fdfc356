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
	receiveBufferSize = 1 << 20

	// answerSize is what is read at once: the most that the kernel puts into one part of a list. An answer is far below that, for it does not repeat
	// the message that it is for.
	readSize = 32 << 10
)

// errLost says that the kernel's answer to a message went missing.
var errReplyLost = errors.New("the kernel's answer was lost, so nobody knows whether this was done: read the table again")

// wire is a socket by which messages go to IPVS, many in one system call, and lists come back. It is not for several goroutines at once.
type netlinkConn struct {
	fd       int
	sequence uint32 // of the last message
	out      attributes
	in       []byte
}

// openWire opens the socket, in the network namespace of the calling thread.
func dialNetlink() (*netlinkConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // an answer need not repeat the message that it is for
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBufferSize),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("generic netlink: %w", err), unix.Close(fd))
	}
	return &netlinkConn{fd: fd, in: make([]byte, readSize)}, nil
}

func (w *netlinkConn) close() error { return unix.Close(w.fd) }

// exchange sends messages to IPVS in one system call and gives the kernel's answer to each; body writes what the i-th one says. The
// kernel works through them in order, whatever becomes of one, and answers those that fail; the last one asks for an answer in
// any case, which ends it. All answers have come when the system call returns.
func (w *netlinkConn) exchange(family uint16, count int, body func(b attributes, i int) attributes) []error {
	errs := make([]error, count)
	first := w.sequence + 1
	w.out = w.out[:0]
	for i := range count {
		flags := uint16(unix.NLM_F_REQUEST)
		if i == count-1 {
			flags |= unix.NLM_F_ACK
		}
		w.appendMessage(family, flags, func(b attributes) attributes { return body(b, i) })
	}
	if err := w.send(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := w.receive(func(a syscall.NetlinkMessage) (last bool, _ error) {
		i := int(int32(a.Header.Seq - first)) // outside: of an earlier exchange, whose answers were too many
		if i < 0 || i >= count || a.Header.Type != unix.NLMSG_ERROR || len(a.Data) < 4 {
			return false, nil
		}
		errs[i] = replyError(a.Data)
		return i == count-1, nil
	}); err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
	}
	return errs
}

// list asks IPVS for a list, as body says, and hands on the body of each of its pieces, which is valid until item returns. The kernel makes up the
// next part of the list whenever one is read, so none of this waits either.
func (w *netlinkConn) dump(family uint16, body func(attributes) attributes, item func(data []byte) error) error {
	w.out = w.out[:0]
	w.appendMessage(family, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, body)
	if err := w.send(); err != nil {
		return err
	}
	sequence := w.sequence
	var failed error // what is wrong with a piece; the others are read all the same, so that they are not in the way of the next answer
	err := w.receive(func(a syscall.NetlinkMessage) (last bool, _ error) {
		ends := a.Header.Type == unix.NLMSG_DONE || a.Header.Type == unix.NLMSG_ERROR
		switch {
		case a.Header.Seq != sequence:
		case ends && len(a.Data) >= 4:
			return true, replyError(a.Data)
		case ends:
			return true, nil
		case a.Header.Type == family && len(a.Data) >= unix.GENL_HDRLEN && failed == nil:
			failed = item(a.Data[unix.GENL_HDRLEN:])
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	return failed
}

// write adds a message to those that send sends.
func (w *netlinkConn) appendMessage(family, flags uint16, body func(attributes) attributes) {
	start := len(w.out)
	w.sequence++
	w.out = append(w.out, 0, 0, 0, 0) // the length, see below
	w.out = binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(w.out, family), flags)
	w.out = binary.NativeEndian.AppendUint32(w.out, w.sequence)
	w.out = append(w.out, 0, 0, 0, 0) // the sender: the kernel knows
	w.out = body(w.out)
	binary.NativeEndian.PutUint32(w.out[start:], uint32(len(w.out)-start))
}

func (w *netlinkConn) send() error {
	return unix.Sendto(w.fd, w.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive hands on the messages that wait, until one is the last. Its error is that one's, or that of answers that are lost.
func (w *netlinkConn) receive(handle func(a syscall.NetlinkMessage) (last bool, err error)) error {
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
			return errReplyLost
		case err != nil:
			return fmt.Errorf("%w (%w)", errReplyLost, err)
		}
		messages, err := syscall.ParseNetlinkMessage(w.in[:n])
		if err != nil {
			return fmt.Errorf("%w (%w)", errReplyLost, err)
		}
		for _, a := range messages {
			last, err := handle(a)
			switch {
			case last && lost:
				return errReplyLost
			case last:
				return err
			}
		}
	}
}

// errorOf reads the answer to a message: the errno as a negative number, 0 for success (struct nlmsgerr of linux/netlink.h).
func replyError(data []byte) error {
	if code := int32(binary.NativeEndian.Uint32(data)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

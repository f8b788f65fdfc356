package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answerBuffer is the size of the socket's buffer for answers: one of a failed message takes up about a kilobyte there.
const answerBuffer = 1 << 20

// errLost says that the kernel's answer to a message went missing.
var errLost = errors.New("the kernel's answer was lost, so nobody knows whether this was done: read the table again")

// message is one command to IPVS.
type message struct {
	command uint8
	data    []byte
}

// openWire opens the socket that messages are sent by.
func openWire() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, nil)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	// An answer need not repeat the message that it is for.
	if err := errors.Join(conn.SetOption(netlink.CapAcknowledge, true), conn.SetReadBuffer(answerBuffer)); err != nil {
		return nil, errors.Join(fmt.Errorf("generic netlink: %w", err), conn.Close())
	}
	return conn, nil
}

// exchange sends messages to IPVS in one system call and gives the kernel's answer to each. The kernel works through them in order,
// whatever becomes of one, and answers those that fail; the last one asks for an answer in any case, which ends it.
// All answers have come when the system call returns.
func exchange(conn *netlink.Conn, family uint16, messages []message) []error {
	errs := make([]error, len(messages))
	fail := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	requests := make([]netlink.Message, len(messages))
	for i, m := range messages {
		data, err := genetlink.Message{Header: genetlink.Header{Command: m.command, Version: genlVersion}, Data: m.data}.MarshalBinary()
		if err != nil {
			return fail(err)
		}
		requests[i] = netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(family), Flags: netlink.Request}, Data: data}
	}
	requests[len(requests)-1].Header.Flags |= netlink.Acknowledge
	raw, err := conn.SyscallConn()
	if err != nil {
		return fail(err)
	}
	if requests, err = conn.SendMessages(requests); err != nil {
		return fail(err)
	}
	at := make(map[uint32]int, len(requests)) // which message, by its number
	for i, r := range requests {
		at[r.Header.Sequence] = i
	}
	if err := receive(raw, func(sequence uint32, err error) (last bool) {
		i, ours := at[sequence] // else of an earlier exchange whose answers were too many
		if ours {
			errs[i] = err
		}
		return ours && i == len(errs)-1
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
func receive(raw syscall.RawConn, answer func(sequence uint32, err error) (last bool)) error {
	buffer := make([]byte, 8<<10)
	lost := false
	for {
		var n int
		var err error
		if closed := raw.Read(func(fd uintptr) bool {
			n, _, err = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			return true
		}); closed != nil {
			return closed
		}
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
		answers, err := syscall.ParseNetlinkMessage(buffer[:n])
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

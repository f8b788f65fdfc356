package ipvs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// receiveBufferSize is the socket's receive buffer: a failed message's response takes up about 1 KiB of it.
	receiveBufferSize = 1 << 20

	// readSize is the size of one read: the largest part of a dump that the kernel sends. Responses are far smaller,
	// because they do not repeat the request.
	readSize = 32 << 10
)

// errReplyLost means that the kernel's response to a message was lost.
var errReplyLost = errors.New("the kernel's response was lost, so the outcome is unknown: read the table again")

// netlinkConn is a socket to IPVS that sends many messages in one system call and reads dumps. It is not safe for
// concurrent use.
type netlinkConn struct {
	fd       int
	sequence uint32 // of the last message
	out      attributes
	in       []byte
}

// dialNetlink opens the socket in the network namespace of the calling thread.
func dialNetlink() (*netlinkConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("generic netlink: %w", err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // responses need not repeat the request
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBufferSize),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("generic netlink: %w", err), unix.Close(fd))
	}
	return &netlinkConn{fd: fd, in: make([]byte, readSize)}, nil
}

func (c *netlinkConn) close() error { return unix.Close(c.fd) }

// exchange sends count messages to IPVS in one system call and returns the kernel's result for each; body appends the
// i-th body. The kernel processes them in order, regardless of failures, and responds to those that fail; the last one
// requests a response in any case, which marks the end. All responses are queued when the system call returns.
func (c *netlinkConn) exchange(family uint16, count int, body func(b attributes, i int) attributes) []error {
	errs := make([]error, count)
	first := c.sequence + 1
	c.out = c.out[:0]
	for i := range count {
		flags := uint16(unix.NLM_F_REQUEST)
		if i == count-1 {
			flags |= unix.NLM_F_ACK
		}
		c.appendMessage(family, flags, func(b attributes) attributes { return body(b, i) })
	}
	if err := c.send(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := c.receive(func(a syscall.NetlinkMessage) (last bool, _ error) {
		i := int(int32(a.Header.Seq - first)) // out of range: from an earlier exchange whose responses overflowed
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

// dump requests a dump from IPVS and calls item with the body of each message, valid until item returns. The kernel
// produces the next part whenever one is read, so this does not block either.
func (c *netlinkConn) dump(family uint16, body func(attributes) attributes, item func(data []byte) error) error {
	c.out = c.out[:0]
	c.appendMessage(family, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, body)
	if err := c.send(); err != nil {
		return err
	}
	sequence := c.sequence
	var failed error // first error of item; reading goes on so that the rest does not mix with the next response
	err := c.receive(func(a syscall.NetlinkMessage) (last bool, _ error) {
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

// appendMessage adds a message to the send buffer.
func (c *netlinkConn) appendMessage(family, flags uint16, body func(attributes) attributes) {
	start := len(c.out)
	c.sequence++
	c.out = append(c.out, 0, 0, 0, 0) // the length, set below
	c.out = binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(c.out, family), flags)
	c.out = binary.NativeEndian.AppendUint32(c.out, c.sequence)
	c.out = append(c.out, 0, 0, 0, 0) // the sender's port ID, which the kernel fills in
	c.out = body(c.out)
	binary.NativeEndian.PutUint32(c.out[start:], uint32(len(c.out)-start))
}

func (c *netlinkConn) send() error {
	return unix.Sendto(c.fd, c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// receive calls handle with the queued messages until one is the last. It returns that one's error, or errReplyLost.
func (c *netlinkConn) receive(handle func(a syscall.NetlinkMessage) (last bool, err error)) error {
	lost := false
	for {
		n, _, err := unix.Recvfrom(c.fd, c.in, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			lost = true // those that fit can still be read
			continue
		case errors.Is(err, unix.EAGAIN):
			return errReplyLost
		case err != nil:
			return fmt.Errorf("%w (%w)", errReplyLost, err)
		}
		messages, err := syscall.ParseNetlinkMessage(c.in[:n])
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

// replyError decodes the response to a message: a negative errno, 0 for success (struct nlmsgerr of linux/netlink.h).
func replyError(data []byte) error {
	if code := int32(binary.NativeEndian.Uint32(data)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's socket diagnostics (man 7 sock_diag; linux/inet_diag.h, linux/unix_diag.h) report the state
// and queues of sockets and need no privileges. Our own requests select the sockets of interest, because a
// full dump lists every connection.
const (
	sockDiagByFamily = 20 // message type of requests and answers

	stateEstablished = 1 // TCP_ESTABLISHED, also used for Unix sockets
	stateListen      = 10

	inetDiagSkV6only = 11 // attribute: one byte, whether an IPv6 socket refuses IPv4

	unixDiagName   = 0 // attribute: the name
	unixDiagRqlen  = 4 // attribute: two numbers, queue length and limit
	unixShowName   = 1 << 0
	unixShowRqlen  = 1 << 4
	inetRequestLen = 56
	unixRequestLen = 24
	inetMessageLen = 72 // size of struct inet_diag_msg; attributes follow
	unixMessageLen = 16 // size of struct unix_diag_msg; attributes follow
)

var errNoSockDiag = errors.New("the kernel cannot list sockets: load the modules with `modprobe tcp_diag` and `modprobe unix_diag`")

// inetSocket is a TCP socket as the kernel reports it.
type inetSocket struct {
	local    netip.AddrPort // IPv4-mapped addresses are unmapped
	v6       bool           // an IPv6 socket
	v6only   bool           // refuses IPv4 connections
	accepted bool           // a process has accepted the connection
	queued   int            // LISTEN: connections that wait to be accepted
}

// unixSocket is a Unix stream socket as the kernel reports it.
type unixSocket struct {
	name   string // as bound; "@…" is an abstract socket
	queued int    // LISTEN: connections that wait to be accepted
}

// inetRequest requests the TCP sockets of a family in one state at a local port (struct inet_diag_req_v2).
func inetRequest(family uint8, state int, port uint16) []byte {
	b := make([]byte, inetRequestLen)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<state)
	binary.BigEndian.PutUint16(b[8:], port)
	return b
}

// unixRequest requests the Unix sockets in one state, with names and queues (struct unix_diag_req).
func unixRequest(state int) []byte {
	b := make([]byte, unixRequestLen)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], 1<<state)
	binary.NativeEndian.PutUint32(b[12:], unixShowName|unixShowRqlen)
	return b
}

// dumpSockets sends a request and calls handle for each message of the answer, until that returns an error.
func dumpSockets(ctx context.Context, request []byte, handle func(message []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return explainSockDiag(err)
	}
	defer conn.Close() // nothing is pending, so an error on close loses nothing
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = conn.Send(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	})
	if err != nil {
		return explainSockDiag(err)
	}
	for m, err := range conn.ReceiveIter() {
		if err != nil {
			return explainSockDiag(err)
		}
		if err := handle(m.Data); err != nil {
			return err
		}
	}
	return nil
}

func explainSockDiag(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w (%w)", errNoSockDiag, err)
	}
	return fmt.Errorf("list sockets: %w", err)
}

// parseInet reads a struct inet_diag_msg and its attributes.
func parseInet(b []byte) (inetSocket, error) {
	if len(b) < inetMessageLen {
		return inetSocket{}, fmt.Errorf("message about a TCP socket has %d bytes, want at least %d", len(b), inetMessageLen)
	}
	s := inetSocket{
		v6:       b[0] == unix.AF_INET6,
		queued:   int(binary.NativeEndian.Uint32(b[56:])),
		accepted: binary.NativeEndian.Uint32(b[68:]) != 0, // the inode
	}
	port := binary.BigEndian.Uint16(b[4:])
	if s.v6 {
		s.local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), port)
	} else {
		s.local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[8:12])), port)
	}
	attributes, err := netlink.NewAttributeDecoder(b[inetMessageLen:])
	if err != nil {
		return inetSocket{}, fmt.Errorf("attributes of a TCP socket: %w", err)
	}
	for attributes.Next() {
		if attributes.Type() == inetDiagSkV6only && len(attributes.Bytes()) > 0 {
			s.v6only = attributes.Bytes()[0] != 0
		}
	}
	if err := attributes.Err(); err != nil {
		return inetSocket{}, fmt.Errorf("attributes of a TCP socket: %w", err)
	}
	return s, nil
}

// parseUnix reads a struct unix_diag_msg and its attributes.
func parseUnix(b []byte) (unixSocket, error) {
	if len(b) < unixMessageLen {
		return unixSocket{}, fmt.Errorf("message about a Unix socket has %d bytes, want at least %d", len(b), unixMessageLen)
	}
	attributes, err := netlink.NewAttributeDecoder(b[unixMessageLen:])
	if err != nil {
		return unixSocket{}, fmt.Errorf("attributes of a Unix socket: %w", err)
	}
	var s unixSocket
	for attributes.Next() {
		data := attributes.Bytes()
		switch attributes.Type() {
		case unixDiagName:
			s.name = socketName(data)
		case unixDiagRqlen:
			if len(data) >= 4 {
				s.queued = int(binary.NativeEndian.Uint32(data))
			}
		}
	}
	if err := attributes.Err(); err != nil {
		return unixSocket{}, fmt.Errorf("attributes of a Unix socket: %w", err)
	}
	return s, nil
}

// socketName converts a name to the usual notation: an abstract name starts with "@" instead of NUL. A path
// ends at its first NUL.
func socketName(data []byte) string {
	name := string(data)
	if rest, abstract := strings.CutPrefix(name, "\x00"); abstract {
		return "@" + rest
	}
	name, _, _ = strings.Cut(name, "\x00")
	return name
}

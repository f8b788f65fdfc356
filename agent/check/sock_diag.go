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

// The kernel's socket diagnosis (man 7 sock_diag; linux/inet_diag.h, linux/unix_diag.h) tells of each socket its state and queues.
// It needs no privilege. The requests are our own, for the sockets wanted only: a whole table has every connection in it.
const (
	sockDiagByFamily = 20 // the type of request and answer

	stateEstablished = 1 // TCP_ESTABLISHED, of Unix sockets too
	stateListen      = 10

	inetDiagSkV6only = 11 // attribute: one byte, whether a socket of IPv6 takes no IPv4

	unixDiagName   = 0 // attribute: the name, up to its own length
	unixDiagRqlen  = 4 // attribute: two numbers, what waits and what may
	unixShowName   = 1 << 0
	unixShowRqlen  = 1 << 4
	inetRequestLen = 56
	unixRequestLen = 24
	inetMessageLen = 72 // of struct inet_diag_msg; attributes follow
	unixMessageLen = 16 // of struct unix_diag_msg; attributes follow
)

var errNoSockDiag = errors.New("this kernel does not tell of its sockets: load that with `modprobe tcp_diag` and `modprobe unix_diag`")

// inetSocket is a TCP socket as the kernel tells it.
type inetSocket struct {
	local    netip.AddrPort // IPv4 in a socket of IPv6 is unmapped
	v6       bool           // a socket of IPv6
	v6only   bool           // which takes no connection by IPv4
	accepted bool           // belongs to a process; a connection that waits to be accepted does not
	queued   int            // LISTEN: connections that wait to be accepted
}

// unixSocket is a Unix stream socket as the kernel tells it.
type unixSocket struct {
	name   string // as bound; "@…" is an abstract one
	queued int    // LISTEN: connections that wait to be accepted
}

// inetRequest asks for the TCP sockets of a family in one state at a local port (struct inet_diag_req_v2).
func inetRequest(family uint8, state int, port uint16) []byte {
	b := make([]byte, inetRequestLen)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<state)
	binary.BigEndian.PutUint16(b[8:], port)
	return b
}

// unixRequest asks for the Unix sockets in one state, with names and queues (struct unix_diag_req).
func unixRequest(state int) []byte {
	b := make([]byte, unixRequestLen)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], 1<<state)
	binary.NativeEndian.PutUint32(b[12:], unixShowName|unixShowRqlen)
	return b
}

// dumpSockets sends a request and gives each answer to take, until one of them is an error.
func dumpSockets(ctx context.Context, request []byte, take func(message []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return explainSockDiag(err)
	}
	defer conn.Close() // nothing is pending that a failed close could lose
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
		if err := take(m.Data); err != nil {
			return err
		}
	}
	return nil
}

func explainSockDiag(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("%w (%w)", errNoSockDiag, err)
	}
	return fmt.Errorf("ask the kernel for its sockets: %w", err)
}

// parseInet reads a struct inet_diag_msg with its attributes.
func parseInet(b []byte) (inetSocket, error) {
	if len(b) < inetMessageLen {
		return inetSocket{}, fmt.Errorf("the kernel tells of a TCP socket in %d bytes, %d are the least", len(b), inetMessageLen)
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

// parseUnix reads a struct unix_diag_msg with its attributes.
func parseUnix(b []byte) (unixSocket, error) {
	if len(b) < unixMessageLen {
		return unixSocket{}, fmt.Errorf("the kernel tells of a Unix socket in %d bytes, %d are the least", len(b), unixMessageLen)
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

// socketName writes a name as people do: an abstract one, which begins with NUL, with "@". A path ends at its first NUL.
func socketName(data []byte) string {
	name := string(data)
	if rest, abstract := strings.CutPrefix(name, "\x00"); abstract {
		return "@" + rest
	}
	name, _, _ = strings.Cut(name, "\x00")
	return name
}

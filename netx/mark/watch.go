package mark

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch implements Table. One call at a time.
func (k *Kernel) Watch(ctx context.Context, changed func()) error {
	own, err := portID(k.writer)
	if err != nil {
		return fmt.Errorf("%s: %w", opWatch, err)
	}
	if err := k.listener.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("%s: %w", opWatch, err)
	}
	if err := k.listener.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("%s: %w", opWatch, explainErrno(err))
	}
	defer func() { _ = k.listener.LeaveGroup(unix.NFNLGRP_NFTABLES) }()
	stop := context.AfterFunc(ctx, func() { _ = k.listener.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	changed() // it may have happened before the group was joined
	for {
		messages, err := k.listener.Receive()
		switch {
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOBUFS): // the kernel has dropped notifications
			changed()
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", opWatch, err)
		}
		for _, m := range messages {
			if concernsTable(m, own) {
				changed()
				break
			}
		}
	}
}

// portID is the address of a socket. The kernel writes it into the notifications of changes made through that socket.
func portID(conn *netlink.Conn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var address unix.Sockaddr
	var failed error
	if err := raw.Control(func(fd uintptr) { address, failed = unix.Getsockname(int(fd)) }); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("read the address of a netlink socket: %w", failed)
	}
	if a, ok := address.(*unix.SockaddrNetlink); ok {
		return a.Pid, nil
	}
	return 0, errors.New("a netlink socket has an address of another family")
}

// concernsTable reports whether a notification is about lb's table and not about a change by the socket own.
func concernsTable(m netlink.Message, own uint32) bool {
	if m.Header.PID == own || m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < headerLength ||
		m.Data[0] != unix.NFPROTO_INET {
		return false
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[headerLength:])
	if err != nil {
		return false
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_TABLE_NAME { // the same number in the messages of chains, rules, sets and elements
			return ad.String() == tableName
		}
	}
	return false
}

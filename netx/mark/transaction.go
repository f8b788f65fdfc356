package mark

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// errGenerationChanged means that another program changed nftables since the generation on which a transaction is
// based; nothing was done.
var errGenerationChanged = errors.New("another program changed nftables meanwhile")

const (
	// socketBufferSize is large enough for a large transaction and the kernel's responses to it.
	socketBufferSize = 16 << 20

	headerLength = 4 // of struct nfgenmsg
	newSetType   = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSET)
	getGenType   = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN)
)

// recordMessages returns the messages that google/nftables would send for build. commit sends them instead of the
// library's Flush, which
//   - cannot state the generation on which the transaction is based, so it would undo concurrent changes by others;
//   - omits the byte order of a map's data (see setUserData), and cannot add messages to its transaction;
//   - requests a response to every message, which overflows the socket's receive buffer.
func recordMessages(build func(*nftables.Conn) error) ([]netlink.Message, error) {
	var sent []netlink.Message
	conn, err := nftables.New(nftables.WithTestDial(func(messages []netlink.Message) ([]netlink.Message, error) {
		sent = append(sent, messages...)
		return nil, io.EOF // no response
	}))
	if err != nil {
		return nil, fmt.Errorf("build transaction: %w", err)
	}
	if err := build(conn); err != nil {
		return nil, fmt.Errorf("build transaction: %w", err)
	}
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("build transaction: %w", err)
	}
	return sent, nil
}

// prepareBatch adds the generation to a recorded transaction and requests a response to its last message only; failures
// are always reported.
func prepareBatch(messages []netlink.Message, generation uint32) error {
	last := len(messages) - 2 // before the end of the batch
	if last < 1 {
		return errors.New("build transaction: it is empty")
	}
	for i := range messages {
		m := &messages[i]
		m.Header.Sequence, m.Header.PID, m.Header.Length = 0, 0, 0 // set by the real socket
		m.Header.Flags &^= netlink.Acknowledge | netlink.Echo
		if m.Header.Type == newSetType {
			attribute, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_SET_USERDATA, Data: setUserData()}})
			if err != nil {
				return fmt.Errorf("build transaction: %w", err)
			}
			m.Data = append(m.Data, attribute...)
		}
	}
	messages[last].Header.Flags |= netlink.Acknowledge
	attribute, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFNL_BATCH_GENID, Data: binary.BigEndian.AppendUint32(nil, generation)},
	})
	if err != nil {
		return fmt.Errorf("build transaction: %w", err)
	}
	messages[0].Data = append(messages[0].Data, attribute...)
	return nil
}

// commit applies the transaction atomically; errGenerationChanged if nftables is at another generation by now.
func commit(conn *netlink.Conn, generation uint32, build func(*nftables.Conn) error) error {
	messages, err := recordMessages(build)
	if err != nil {
		return err
	}
	if err := prepareBatch(messages, generation); err != nil {
		return err
	}
	sent, err := conn.SendMessages(messages)
	if err != nil {
		return fmt.Errorf("send transaction: %w", err)
	}
	replies, err := receiveQueued(conn)
	if err != nil {
		return fmt.Errorf("receive the response to the transaction: %w", err)
	}
	return batchError(replies, sent[len(sent)-2].Header.Sequence)
}

// receiveQueued returns all queued responses. The kernel processes a transaction within the system call that sends it,
// so all are queued by then, and none remains to be mistaken for a later response.
func receiveQueued(conn *netlink.Conn) ([]syscall.NetlinkMessage, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var replies []syscall.NetlinkMessage
	var failed error
	buffer := make([]byte, 256<<10) // an error repeats the message that it is about, at most 64 KiB
	read := func(fd uintptr) {
		for {
			n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return
			case err != nil:
				failed = err
				return
			}
			messages, err := syscall.ParseNetlinkMessage(append([]byte(nil), buffer[:n]...))
			if err != nil {
				failed = err
				return
			}
			replies = append(replies, messages...)
		}
	}
	if err := raw.Control(read); err != nil {
		return nil, err
	}
	return replies, failed
}

// batchError returns the first error among the replies; without one, the last message must have been acknowledged.
func batchError(replies []syscall.NetlinkMessage, last uint32) error {
	acknowledged := false
	for _, reply := range replies {
		if reply.Header.Type != unix.NLMSG_ERROR || len(reply.Data) < 4 {
			continue
		}
		switch errno := syscall.Errno(-int32(binary.NativeEndian.Uint32(reply.Data))); errno {
		case 0:
			acknowledged = acknowledged || reply.Header.Seq == last
		case unix.ERESTART:
			return errGenerationChanged
		default:
			return fmt.Errorf("the kernel rejected the transaction: %w", errno)
		}
	}
	if !acknowledged {
		return errors.New("the kernel did not acknowledge the transaction")
	}
	return nil
}

// currentGeneration returns the number of the last transaction of any program in this network namespace.
func currentGeneration(conn *netlink.Conn) (uint32, error) {
	replies, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: getGenType, Flags: netlink.Request},
		Data:   make([]byte, headerLength),
	})
	if err != nil {
		return 0, fmt.Errorf("query the generation of nftables: %w", err)
	}
	for _, reply := range replies {
		if len(reply.Data) < headerLength {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(reply.Data[headerLength:])
		if err != nil {
			return 0, fmt.Errorf("decode the generation of nftables: %w", err)
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), ad.Err()
			}
		}
	}
	return 0, errors.New("query the generation of nftables: it is missing from the response")
}

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

// errMoved says that another program changed nftables since the generation that a transaction rests on; nothing was done.
var errGenerationChanged = errors.New("another program changed nftables meanwhile")

const (
	// socketBuffer holds what the kernel says to a large transaction, and the transaction itself.
	socketBufferSize = 16 << 20

	headerLength = 4 // of struct nfgenmsg
	newSetType   = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSET)
	getGenType   = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN)
)

// record gives the messages that google/nftables would send for build. They are sent by commit instead of the library's
// Flush, which
//   - cannot say on which state the transaction rests, so that it would undo what another program did meanwhile;
//   - leaves out the byte order of a map's data (see setUserData), and lets no message be added to its transaction;
//   - has every message answered, and overflows the socket's buffer with the answers.
func recordMessages(build func(*nftables.Conn) error) ([]netlink.Message, error) {
	var sent []netlink.Message
	conn, err := nftables.New(nftables.WithTestDial(func(messages []netlink.Message) ([]netlink.Message, error) {
		sent = append(sent, messages...)
		return nil, io.EOF // no answer
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

// prepare makes a recorded transaction rest on a generation, and has its last message alone answered unless something fails.
func prepareBatch(messages []netlink.Message, generation uint32) error {
	last := len(messages) - 2 // behind it the end of the transaction
	if last < 1 {
		return errors.New("build transaction: nothing in it")
	}
	for i := range messages {
		m := &messages[i]
		m.Header.Sequence, m.Header.PID, m.Header.Length = 0, 0, 0 // the real socket's
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

// commit applies the transaction as a whole or not at all; errMoved where nftables is at another generation by now.
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
		return fmt.Errorf("receive the answer to the transaction: %w", err)
	}
	return batchError(replies, sent[len(sent)-2].Header.Sequence)
}

// queued gives the answers that wait at the socket. The kernel works on a transaction within the call that sends it, so all
// are there by then; and none is left behind to be taken for the answer to something else.
func receiveQueued(conn *netlink.Conn) ([]syscall.NetlinkMessage, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var replies []syscall.NetlinkMessage
	var failed error
	buffer := make([]byte, 256<<10) // an error brings the message back that it is about, 64 KiB at most
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

// verdict reads the first error out of the answers; without one the last message must have been acknowledged.
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
			return fmt.Errorf("the kernel refused the transaction: %w", errno)
		}
	}
	if !acknowledged {
		return errors.New("the kernel did not answer the transaction")
	}
	return nil
}

// currentGeneration gives the number of the last transaction of anybody, in this network namespace.
func currentGeneration(conn *netlink.Conn) (uint32, error) {
	replies, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: getGenType, Flags: netlink.Request},
		Data:   make([]byte, headerLength),
	})
	if err != nil {
		return 0, fmt.Errorf("ask nftables for its generation: %w", err)
	}
	for _, reply := range replies {
		if len(reply.Data) < headerLength {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(reply.Data[headerLength:])
		if err != nil {
			return 0, fmt.Errorf("read nftables' generation: %w", err)
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), ad.Err()
			}
		}
	}
	return 0, errors.New("read nftables' generation: the kernel did not tell it")
}

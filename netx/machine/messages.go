package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netconf.h and linux/neighbour.h.
const (
	rtmGetNetconf = 0x52

	netconfIfindex    = 1
	netconfForwarding = 2
	netconfRPFilter   = 3
	netconfAll        = -1 // interface index of the settings for all interfaces

	neighUse = 0x1 // NTF_USE: resolve the address, as a packet to it would
)

// syncGroup is the multicast group of IPVS's connection synchronisation.
var syncGroup = netip.AddrFrom4([4]byte{224, 0, 0, 81})

// settings are what matters of the settings of an interface, or of all.
type settings struct {
	forwarding bool
	rpFilter   int32
}

// readSettings reads whether the machine forwards packets, and how strictly it looks at their sources.
func (r *reader) readSettings(s *State) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		of, err := r.netconf(family)
		if family == unix.AF_INET6 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
			return nil // the kernel has no IPv6
		}
		if err != nil {
			return fmt.Errorf("read the settings of interfaces: %w", err)
		}
		all := of[netconfAll]
		if family == unix.AF_INET6 {
			s.Forward6 = all.forwarding
			continue
		}
		s.Forward4 = all.forwarding
		for i := range s.Links {
			link := of[s.Links[i].Index]
			s.Links[i].Forward4, s.Links[i].Strict4 = link.forwarding, max(link.rpFilter, all.rpFilter) == 1
		}
	}
	return nil
}

// netconf returns the settings of a family, by the index of the interface.
func (r *reader) netconf(family byte) (map[int]settings, error) {
	answers, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: rtmGetNetconf, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{family, 0, 0, 0},
	})
	if err != nil {
		return nil, err
	}
	found := map[int]settings{}
	for _, m := range answers {
		if len(m.Data) < 4 || m.Data[0] != family {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, err
		}
		var index int
		var of settings
		for attributes.Next() {
			switch attributes.Type() {
			case netconfIfindex:
				index = int(attributes.Int32())
			case netconfForwarding:
				of.forwarding = attributes.Int32() != 0
			case netconfRPFilter:
				of.rpFilter = attributes.Int32()
			}
		}
		if err := attributes.Err(); err != nil {
			return nil, err
		}
		found[index] = of
	}
	return found, nil
}

// askNeighbours makes the kernel ask the neighbours of an interface for an address, as a packet to it would.
func (r *reader) askNeighbours(index int, address netip.Addr) error {
	data := make([]byte, 12, 32) // struct ndmsg
	data[0] = unix.AF_INET
	if address.Is6() {
		data[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(data[4:], uint32(index))
	data[10] = neighUse
	to, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NDA_DST, Data: address.AsSlice()}})
	if err != nil {
		return err
	}
	_, err = r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWNEIGH, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Replace},
		Data:   append(data, to...),
	})
	return err
}

// SyncMembers returns the interfaces, by index, where this process's network namespace receives the messages of connection
// synchronisation.
func (*Watcher) SyncMembers() (map[int]bool, error) {
	igmp, err := os.ReadFile("/proc/net/igmp")
	if err != nil {
		return nil, fmt.Errorf("read multicast memberships: %w", err)
	}
	return syncMembers(igmp), nil
}

// syncMembers returns the interfaces in the group of IPVS's connection synchronisation, from /proc/net/igmp: a line for each interface
// begins with its index, and indented lines with its groups follow.
func syncMembers(igmp []byte) map[int]bool {
	want := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(syncGroup.AsSlice()))
	members, index := map[int]bool{}, 0
	for line := range bytes.Lines(igmp) {
		words := strings.Fields(string(line))
		switch {
		case len(words) == 0:
		case !slices.Contains([]byte(" \t"), line[0]):
			index, _ = strconv.Atoi(words[0]) // 0 for the heading
		case words[0] == want:
			members[index] = true
		}
	}
	return members
}

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// groups are the notifications that Watch receives from one netlink protocol, as a set of bits.
type groups struct {
	protocol int
	bits     uint32
	relevant func(netlink.Message) bool // whether a message may concern a tunnel
}

// watchBuffer is the receive buffer of a socket in bytes. When it overflows, Watch reports a change, so nothing is missed.
const watchBuffer = 256 << 10

// Watch calls changed when the kernel notifies it of a change that may concern the tunnel, and once at the start, until ctx
// ends. The kernel notifies of links, addresses, nftables and rp_filter over netlink. Of arp_ignore and arp_announce it does not:
// writes to their files are seen by inotify, unless they come from another mount of /proc.
func (*Setup) Watch(ctx context.Context, changed func()) error {
	conns, err := dialGroups()
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return err
	}
	sysctls, err := watchSysctls()
	if err != nil {
		return err
	}
	changed()
	var wg sync.WaitGroup
	failed := make(chan error, len(conns)+1)
	for i, g := range watched() {
		wg.Go(func() { failed <- receive(conns[i], g.relevant, changed) })
	}
	wg.Go(func() { failed <- sysctls.read(changed) })
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	for _, c := range conns {
		c.Close()
	}
	sysctls.close()
	wg.Wait()
	return err
}

// watched lists what Watch subscribes to.
func watched() []groups {
	bit := func(groups ...int) (bits uint32) {
		for _, g := range groups {
			bits |= 1 << (g - 1)
		}
		return bits
	}
	return []groups{
		{unix.NETLINK_ROUTE, bit(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_NETCONF),
			concernsTunnel},
		{unix.NETLINK_NETFILTER, bit(groupNftables), concernsTable},
	}
}

// dialGroups opens a socket for each of watched. On an error, those already open are returned as well.
func dialGroups() ([]*netlink.Conn, error) {
	var conns []*netlink.Conn
	for _, g := range watched() {
		c, err := netlink.Dial(g.protocol, &netlink.Config{Groups: g.bits})
		if err != nil {
			return conns, fmt.Errorf("watch the kernel's changes: %w", explainErrno(err))
		}
		conns = append(conns, c)
		if err := c.SetReadBuffer(watchBuffer); err != nil {
			return conns, fmt.Errorf("watch the kernel's changes: %w", err)
		}
	}
	return conns, nil
}

// receive calls changed for relevant notifications until the socket is closed.
func receive(c *netlink.Conn, relevant func(netlink.Message) bool, changed func()) error {
	for {
		messages, err := c.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			changed() // some were lost
		case err != nil:
			return fmt.Errorf("receive the kernel's changes: %w", err)
		}
		for _, m := range messages {
			if relevant(m) {
				changed()
				break
			}
		}
	}
}

// concernsTunnel reports whether a message of rtnetlink is about a tunnel, an address other than an IPv6 link-local one, or
// rp_filter. Machines with containers get many others.
func concernsTunnel(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		name, kind := parseLink(m.Data)
		return name == ipv4.device || name == ipv6.device || kind == ipv4.kind || kind == ipv6.kind
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return len(m.Data) >= unix.SizeofIfAddrmsg && m.Data[ifaddrScope] != unix.RT_SCOPE_LINK
	case unix.RTM_NEWNETCONF:
		const header = 4 // struct netconfmsg, padded
		var filter, forwarding bool
		if len(m.Data) < header {
			return false
		}
		if attributes, err := netlink.NewAttributeDecoder(m.Data[header:]); err == nil {
			for attributes.Next() {
				filter = filter || attributes.Type() == netconfaRPFilter
				forwarding = forwarding || attributes.Type() == netconfaForwarding
			}
		}
		return filter && !forwarding // both: a new interface, for which there is a link message as well
	}
	return false
}

// From linux/netconf.h, linux/if_addr.h and linux/netfilter/nfnetlink.h.
const (
	netconfaForwarding = 2
	netconfaRPFilter   = 3
	ifaddrScope        = 3 // offset in struct ifaddrmsg
	groupNftables      = 7
)

// parseLink returns the name and kind of a link in a message, "" for those that are not there.
func parseLink(data []byte) (name, kind string) {
	if len(data) < unix.SizeofIfInfomsg {
		return "", ""
	}
	attributes, err := netlink.NewAttributeDecoder(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return "", ""
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			name = attributes.String()
		case unix.IFLA_LINKINFO:
			attributes.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					if info.Type() == unix.IFLA_INFO_KIND {
						kind = info.String()
					}
				}
				return nil
			})
		}
	}
	return name, kind
}

// concernsTable reports whether a message of nftables is about lb's table. In all messages but that of a new generation, the
// first attribute is the name of a table.
func concernsTable(m netlink.Message) bool {
	const header = 4 // struct nfgenmsg
	if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN || len(m.Data) < header {
		return false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return false
	}
	for attributes.Next() {
		if attributes.Type() == unix.NFTA_TABLE_NAME {
			return attributes.String() == table
		}
	}
	return false
}

// sysctlWatch reports writes to sysctls.
type sysctlWatch struct {
	events *os.File
	held   []*os.File // keep the kernel from forgetting the files, which would end the watch
}

func watchSysctls() (*sysctlWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch sysctls: %w", err)
	}
	w := &sysctlWatch{events: os.NewFile(uintptr(fd), "inotify")}
	for _, key := range []string{"all/arp_ignore", "all/arp_announce"} {
		f, err := os.Open(sysctlDir + key)
		if err != nil {
			w.close()
			return nil, fmt.Errorf("watch a sysctl: %w", err)
		}
		w.held = append(w.held, f)
		if _, err := unix.InotifyAddWatch(fd, f.Name(), unix.IN_MODIFY); err != nil {
			w.close()
			return nil, fmt.Errorf("watch a sysctl: %w", err)
		}
	}
	return w, nil
}

// read calls changed for writes until the watch is closed.
func (w *sysctlWatch) read(changed func()) error {
	buf := make([]byte, 4096)
	for {
		if _, err := w.events.Read(buf); err != nil {
			return fmt.Errorf("watch sysctls: %w", err)
		}
		changed()
	}
}

func (w *sysctlWatch) close() {
	w.events.Close()
	for _, f := range w.held {
		f.Close()
	}
}

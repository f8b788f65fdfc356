package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Sysctls of IPv4 interfaces: the folder, and the name that operators use.
const (
	sysctlDir  = "/proc/sys/net/ipv4/conf/"
	sysctlName = "net/ipv4/conf/"
)

// State reads the current state. Only listing nftables needs privilege.
func (s *Setup) State(ctx context.Context) (State, error) {
	if err := ctx.Err(); err != nil {
		return State{}, err
	}
	var st State
	var err error
	if st.Sysctls, err = readSysctls(); err != nil {
		return State{}, err
	}
	if st.Saved, err = s.saved.read(); err != nil {
		return State{}, err
	}
	if st.Clamp, err = readClamp(); err != nil {
		return State{}, err
	}
	links, addrs, err := readLinks()
	if err != nil {
		return State{}, err
	}
	for _, l := range links {
		st.addLink(l, addrs[l.Attrs().Index])
	}
	slices.SortFunc(st.Links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return st, nil
}

// readLinks returns the interfaces and their addresses, by the interface's index.
func readLinks() (links []netlink.Link, addrs map[int][]netlink.Addr, err error) {
	for range readAttempts {
		var list []netlink.Addr
		if links, err = netlink.LinkList(); err != nil {
			err = fmt.Errorf("list interfaces: %w", err)
		} else if list, err = netlink.AddrList(nil, netlink.FAMILY_ALL); err != nil {
			err = fmt.Errorf("list addresses: %w", err)
		}
		addrs = map[int][]netlink.Addr{}
		for _, a := range list {
			addrs[a.LinkIndex] = append(addrs[a.LinkIndex], a)
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) { // otherwise another program changed interfaces meanwhile
			break
		}
	}
	return links, addrs, err
}

// addLink adds an interface to the state.
func (st *State) addLink(l netlink.Link, listed []netlink.Addr) {
	attrs := l.Attrs()
	up := attrs.Flags&net.FlagUp != 0
	var addrs []netip.Addr
	for _, a := range listed {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	if l.Type() == ipv4.kind || l.Type() == ipv6.kind {
		st.Tunnels = append(st.Tunnels, Tunnel{Name: attrs.Name, Kind: l.Type(), Up: up})
	}
	st.Addresses = append(st.Addresses, addrs...)
	switch attrs.Name {
	case ipv4.device:
		st.Device = st.addDevice(ipv4, Device{Kind: l.Type(), Up: up}, listed)
	case ipv6.device:
		st.Device6 = st.addDevice(ipv6, Device{Kind: l.Type(), Up: up}, listed)
	default:
		if up && attrs.Flags&net.FlagLoopback == 0 && len(addrs) > 0 {
			st.Links = append(st.Links, Link{Name: attrs.Name, MTU: attrs.MTU, Addresses: addrs})
		}
	}
}

// addDevice adds the virtual IPs on the family's device, and returns the device.
func (st *State) addDevice(f family, d Device, listed []netlink.Addr) Device {
	for _, a := range listed {
		addr, ok := netip.AddrFromSlice(a.IP)
		addr = addr.Unmap()
		if !ok || addr.IsLinkLocalUnicast() { // the kernel gives an IPv6 interface its link-local address
			continue
		}
		ones, _ := a.Mask.Size()
		isHost := f.has(addr) && ones == f.bits
		managed := isHost && (a.Label == label || slices.Contains(st.Saved.VIPs6, addr))
		d.InUse = d.InUse || !managed
		if isHost {
			st.VIPs = append(st.VIPs, Address{Addr: addr, Managed: managed})
		}
	}
	return d
}

// readSysctls reads the relevant sysctls of all interfaces.
func readSysctls() (map[string]string, error) {
	values := map[string]string{}
	for _, name := range []string{"arp_ignore", "arp_announce", "rp_filter"} {
		files, err := filepath.Glob(sysctlDir + "*/" + name)
		if err != nil {
			return nil, fmt.Errorf("list sysctls: %w", err)
		}
		for _, f := range files {
			value, err := os.ReadFile(f)
			if errors.Is(err, os.ErrNotExist) {
				continue // the interface has disappeared
			}
			if err != nil {
				return nil, fmt.Errorf("read a sysctl: %w", err)
			}
			key := strings.TrimPrefix(f, sysctlDir)
			if !strings.HasPrefix(key, "default/") { // "default" applies to future interfaces only
				values[key] = strings.TrimSpace(string(value))
			}
		}
	}
	if values["all/arp_ignore"] == "" {
		return nil, fmt.Errorf("no sysctls in %s: is /proc mounted?", sysctlDir)
	}
	return values, nil
}

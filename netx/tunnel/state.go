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
	links, err := netlink.LinkList()
	if err != nil {
		return State{}, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if err := st.addLink(l); err != nil {
			return State{}, err
		}
	}
	slices.SortFunc(st.Links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return st, nil
}

// addLink adds an interface to the state.
func (st *State) addLink(l netlink.Link) error {
	attrs := l.Attrs()
	up := attrs.Flags&net.FlagUp != 0
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", attrs.Name, err)
	}
	if attrs.Name == device {
		st.Device = Device{Kind: l.Type(), Up: up}
		for _, a := range addrs {
			addr, ok := netip.AddrFromSlice(a.IP.To4())
			ones, _ := a.Mask.Size()
			managed := ok && ones == 32 && a.Label == label
			st.Device.InUse = st.Device.InUse || !managed
			if ok && ones == 32 {
				st.VIPs = append(st.VIPs, Address{Addr: addr, Managed: managed})
			}
		}
		return nil
	}
	if !up || attrs.Flags&net.FlagLoopback != 0 || len(addrs) == 0 {
		return nil
	}
	link := Link{Name: attrs.Name, MTU: attrs.MTU}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			link.Addresses = append(link.Addresses, addr)
		}
	}
	st.Links = append(st.Links, link)
	return nil
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

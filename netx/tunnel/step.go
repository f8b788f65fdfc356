package tunnel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Action is what a step does.
type Action uint8

// The actions.
const (
	SetSysctl     Action = iota // sets Key to Value
	RestoreSysctl               // sets Key back to Value and removes it from the saved state
	CreateDevice                // creates Device, which loads its kernel module
	DeviceUp
	DeviceDown
	WriteClamp // replaces the nftables table
	DeleteClamp
	AddVIP
	RemoveVIP
	DeleteSaved // deletes the rest of the saved state
)

// Step is one change to the machine. Fields without meaning for its action are zero.
type Step struct {
	Action  Action
	Device  string     // for CreateDevice, DeviceUp and DeviceDown: tunl0 or ip6tnl0
	Key     string     // sysctl below /proc/sys/net/ipv4/conf
	Value   string     // the new value
	Current string     // the present value; "" if the interface does not exist yet
	Clamp   MSSClamp   // for WriteClamp
	VIP     netip.Addr // for AddVIP and RemoveVIP
}

// MSSClamp limits the maximum segment size (MSS, bytes) that replies from the virtual IPs offer.
type MSSClamp struct {
	VIPs []netip.Addr // sorted, so IPv4 before IPv6
	MSS  int          // of IPv4; 0 if no virtual IP is IPv4
	MSS6 int          // of IPv6; 0 if no virtual IP is IPv6
}

// equal reports whether two clamps are the same.
func (c MSSClamp) equal(o MSSClamp) bool {
	return c.MSS == o.MSS && c.MSS6 == o.MSS6 && slices.Equal(c.VIPs, o.VIPs)
}

// String is part of a step's description.
func (c MSSClamp) String() string {
	var parts []string
	if v4 := ipv4.of(c.VIPs); len(v4) > 0 {
		parts = append(parts, fmt.Sprintf("the MSS of %s to %d bytes", joinAddrs(v4), c.MSS))
	}
	if v6 := ipv6.of(c.VIPs); len(v6) > 0 {
		parts = append(parts, fmt.Sprintf("the MSS of %s to %d bytes", joinAddrs(v6), c.MSS6))
	}
	return strings.Join(parts, " and ")
}

func joinAddrs(addrs []netip.Addr) string {
	names := make([]string, len(addrs))
	for i, a := range addrs {
		names[i] = a.String()
	}
	return strings.Join(names, ", ")
}

// String describes the step for operators.
func (s Step) String() string {
	switch s.Action {
	case SetSysctl:
		return fmt.Sprintf("set %s%s to %s%s", sysctlName, s.Key, s.Value, s.currentSuffix())
	case RestoreSysctl:
		return fmt.Sprintf("restore %s%s to %s%s", sysctlName, s.Key, s.Value, s.currentSuffix())
	case CreateDevice:
		return "create " + s.Device + " and load the kernel module " + s.module()
	case DeviceUp:
		return "set " + s.Device + " up"
	case DeviceDown:
		return "set " + s.Device + " down"
	case WriteClamp:
		return fmt.Sprintf("write nftables table inet %s: clamp %s", table, s.Clamp)
	case DeleteClamp:
		return "delete nftables table inet " + table
	case AddVIP:
		return fmt.Sprintf("add %s to %s", hostPrefix(s.VIP), familyOf(s.VIP).device)
	case RemoveVIP:
		return fmt.Sprintf("remove %s from %s", hostPrefix(s.VIP), familyOf(s.VIP).device)
	case DeleteSaved:
		return "delete the saved settings"
	}
	return fmt.Sprintf("unknown action %d", s.Action)
}

// hostPrefix is the prefix of one address.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// family returns the family that the step is for; false if it is for both.
func (s Step) family() (family, bool) {
	switch s.Action {
	case SetSysctl, RestoreSysctl:
		return ipv4, true
	case CreateDevice, DeviceUp, DeviceDown:
		if s.Device == ipv6.device {
			return ipv6, true
		}
		return ipv4, true
	case AddVIP, RemoveVIP:
		return familyOf(s.VIP), true
	}
	return family{}, false
}

func (s Step) module() string {
	f, _ := s.family()
	return f.module
}

func (s Step) currentSuffix() string {
	if s.Current == "" {
		return ""
	}
	return " (is " + s.Current + ")"
}

package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
)

// Action is what a step does.
type Action uint8

// The actions.
const (
	SetSysctl     Action = iota // sets Key to Value
	RestoreSysctl               // sets Key back to Value and removes it from the saved state
	CreateDevice                // creates tunl0, which loads ipip
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
	Key     string     // sysctl below /proc/sys/net/ipv4/conf
	Value   string     // the new value
	Current string     // the present value; "" if the interface does not exist yet
	Clamp   MSSClamp   // for WriteClamp
	VIP     netip.Addr // for AddVIP and RemoveVIP
}

// MSSClamp limits the maximum segment size (MSS, bytes) that replies from the virtual IPs offer.
type MSSClamp struct {
	VIPs []netip.Addr // sorted
	MSS  int
}

// String describes the step for operators.
func (s Step) String() string {
	switch s.Action {
	case SetSysctl:
		return fmt.Sprintf("set %s%s to %s%s", sysctlName, s.Key, s.Value, s.currentSuffix())
	case RestoreSysctl:
		return fmt.Sprintf("restore %s%s to %s%s", sysctlName, s.Key, s.Value, s.currentSuffix())
	case CreateDevice:
		return "create " + device + " and load the kernel module ipip"
	case DeviceUp:
		return "set " + device + " up"
	case DeviceDown:
		return "set " + device + " down"
	case WriteClamp:
		names := make([]string, len(s.Clamp.VIPs))
		for i, v := range s.Clamp.VIPs {
			names[i] = v.String()
		}
		return fmt.Sprintf("write nftables table inet %s: clamp the MSS of %s to %d bytes", table, strings.Join(names, ", "), s.Clamp.MSS)
	case DeleteClamp:
		return "delete nftables table inet " + table
	case AddVIP:
		return fmt.Sprintf("add %s/32 to %s", s.VIP, device)
	case RemoveVIP:
		return fmt.Sprintf("remove %s/32 from %s", s.VIP, device)
	case DeleteSaved:
		return "delete the saved settings"
	}
	return fmt.Sprintf("unknown action %d", s.Action)
}

func (s Step) currentSuffix() string {
	if s.Current == "" {
		return ""
	}
	return " (is " + s.Current + ")"
}

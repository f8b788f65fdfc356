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
	SetSysctl     Action = iota // Key to Value
	RestoreSysctl               // Key to Value, and forget it
	CreateDevice                // make tunl0, loading ipip
	DeviceUp
	DeviceDown
	WriteClamp // replace the nftables table by Clamp
	DeleteClamp
	AddVIP
	RemoveVIP
	DeleteSaved // what is left in the note
)

// Step is one change to the machine. Fields that its action does not name are zero.
type Step struct {
	Action  Action
	Key     string     // of a kernel setting, below /proc/sys/net/ipv4/conf
	Value   string     // that it shall have
	Current string     // that it has; "" where its interface does not exist yet
	Clamp   MSSClamp   // of WriteClamp
	VIP     netip.Addr // of AddVIP and RemoveVIP
}

// Clamp is the segment size (MSS, bytes) that answers from the virtual IPs offer at most.
type MSSClamp struct {
	VIPs []netip.Addr // sorted
	MSS  int
}

// String says what the step does, as an operator reads it.
func (s Step) String() string {
	switch s.Action {
	case SetSysctl:
		return fmt.Sprintf("set %s%s to %s%s", sysctlName, s.Key, s.Value, s.was())
	case RestoreSysctl:
		return fmt.Sprintf("set %s%s back to %s%s", sysctlName, s.Key, s.Value, s.was())
	case CreateDevice:
		return "create " + device + ", loading the kernel's ipip module"
	case DeviceUp:
		return "set " + device + " up"
	case DeviceDown:
		return "set " + device + " down"
	case WriteClamp:
		names := make([]string, len(s.Clamp.VIPs))
		for i, v := range s.Clamp.VIPs {
			names[i] = v.String()
		}
		return fmt.Sprintf("write nftables table inet %s: segments of at most %d bytes to %s", table, s.Clamp.MSS, strings.Join(names, ", "))
	case DeleteClamp:
		return "delete nftables table inet " + table
	case AddVIP:
		return fmt.Sprintf("add %s/32 to %s", s.VIP, device)
	case RemoveVIP:
		return fmt.Sprintf("remove %s/32 from %s", s.VIP, device)
	case DeleteSaved:
		return "forget what the settings were"
	}
	return fmt.Sprintf("unknown action %d", s.Action)
}

func (s Step) was() string {
	if s.Current == "" {
		return ""
	}
	return " (is " + s.Current + ")"
}

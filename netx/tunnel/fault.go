package tunnel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Fault is something that loses packets for virtual IPs of this machine, or their replies.
type Fault struct {
	Text string       // such as "tunl0 is down"
	VIPs []netip.Addr // whose packets are affected
}

// Faults lists what is not as desired; none if Plan has nothing to set up. Left-overs such as an address that is no longer
// desired are no faults.
func Faults(current State, desired Desired) []Fault {
	steps, faults := plan(current, desired)
	vips := sortedVIPs(desired.VIPs)
	if len(vips) == 0 {
		return nil
	}
	for _, s := range steps {
		if text := s.fault(); text != "" {
			faults = append(faults, Fault{text, s.affected(vips)})
		}
	}
	return faults
}

// fault says what is wrong that the step corrects; "" if it corrects no fault.
func (s Step) fault() string {
	switch s.Action {
	case SetSysctl:
		if s.Current == "" {
			return fmt.Sprintf("%s%s is not set", sysctlName, s.Key)
		}
		return fmt.Sprintf("%s%s is %s, not %s", sysctlName, s.Key, s.Current, s.Value)
	case CreateDevice:
		return s.Device + " does not exist"
	case DeviceUp:
		return s.Device + " is down"
	case WriteClamp:
		return fmt.Sprintf("nftables table inet %s is missing or changed, so uploads may hang", table)
	case AddVIP:
		return fmt.Sprintf("%s is not on %s", s.VIP, familyOf(s.VIP).device)
	}
	return ""
}

// affected returns the virtual IPs whose packets are lost until the step is made.
func (s Step) affected(vips []netip.Addr) []netip.Addr {
	if s.Action == AddVIP {
		return []netip.Addr{s.VIP}
	}
	if f, ok := s.family(); ok {
		return f.of(vips)
	}
	return vips
}

// ForeignFaults lists what is wrong with a tunnel that someone else set up, with whatever interfaces. Suspected faults are
// missing measures that may have been taken in a way that lb cannot see, such as ARP filters or another program's MSS rules.
func ForeignFaults(current State, desired Desired) (faults, suspected []Fault) {
	vips := sortedVIPs(desired.VIPs)
	for _, f := range []family{ipv4, ipv6} {
		wanted := f.of(vips)
		if len(wanted) == 0 {
			continue
		}
		if text := current.foreignDeviceFault(f); text != "" {
			faults = append(faults, Fault{text, wanted})
		}
		for _, v := range wanted {
			if !slices.Contains(current.Addresses, v) {
				faults = append(faults, Fault{fmt.Sprintf("%s is on no interface", v), []netip.Addr{v}})
			}
		}
		if text := current.arpFault(); f.sysctls && text != "" {
			suspected = append(suspected, Fault{text, wanted})
		}
	}
	if len(vips) > 0 && (current.Clamp == nil || current.Clamp.MSS == 0 && current.Clamp.MSS6 == 0) {
		step := Step{Action: WriteClamp}
		suspected = append(suspected, Fault{step.fault(), vips})
	}
	return faults, suspected
}

// foreignDeviceFault says why no interface decapsulates packets; "" if one does.
func (s State) foreignDeviceFault(f family) string {
	problem := fmt.Sprintf("no %s interface exists", f.kind)
	for _, t := range s.Tunnels {
		if t.Kind != f.kind {
			continue
		}
		key := t.Name + "/rp_filter"
		switch {
		case !t.Up:
			problem = t.Name + " is down"
		case f.sysctls && max(s.Sysctls["all/rp_filter"], s.Sysctls[key]) == "1": // the kernel uses the higher value
			problem = fmt.Sprintf("rp_filter of %s is 1, so the kernel drops clients' packets: set %s%s to 2", t.Name, sysctlName, key)
		default:
			return ""
		}
	}
	return problem
}

// arpFault says which interface responds to ARP requests for virtual IPs; "" if none does.
func (s State) arpFault() string {
	for _, key := range slices.Sorted(maps.Keys(s.Sysctls)) {
		name, isIgnore := strings.CutSuffix(key, "/arp_ignore")
		serves := slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == name })
		if effective := max(s.Sysctls["all/arp_ignore"], s.Sysctls[key]); isIgnore && serves && !hidesVIP(effective) {
			return fmt.Sprintf("arp_ignore of %s is %s, so this machine responds to ARP requests for virtual IPs", name, effective)
		}
	}
	return ""
}

// Describe joins the texts of faults to one line.
func Describe(faults []Fault) string {
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = f.Text
	}
	return strings.Join(texts, "; ")
}

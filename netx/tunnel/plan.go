package tunnel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// State is what the machine has now.
type State struct {
	Device  Device
	VIPs    []Address         // IPv4 /32 on tunl0
	Links   []Link            // the other interfaces, those that are up and have addresses
	Sysctls map[string]string // arp_ignore, arp_announce, rp_filter: "all/arp_ignore" and the like to their values
	Clamp   *MSSClamp         // what the table says; nil when there is none; zero when it is not as lb writes it
	Saved   Saved             // what lb changed since the machine started
}

// Device is tunl0.
type Device struct {
	Kind  string // "ipip" when all is well; "" when there is none
	Up    bool
	InUse bool // it has addresses that are not lb's
}

// Address is one on tunl0.
type Address struct {
	Addr    netip.Addr
	Managed bool // lb put it there
}

// Link is an interface that balancers' packets may come by.
type Link struct {
	Name      string
	MTU       int // bytes
	Addresses []netip.Addr
}

// Sizes in bytes.
const (
	ipHeader    = 20 // IPv4 without options: of the tunnel, and of the client's packet in it
	tcpHeader   = 20 // without options, which count as part of the segment
	smallestMTU = 68 // that IPv4 allows
	largestMTU  = 65535
)

// Plan lists the steps from the current state to the wanted one, in the order in which they are safe: settings first, virtual IPs
// last. None when all is as wanted. An error names what no step can bring; the steps are good all the same.
func Plan(current State, want Desired) ([]Step, error) {
	vips, missing := split(want.VIPs)
	if len(vips) == 0 {
		return PlanDown(current), missing
	}
	if current.Device.Kind != "" && current.Device.Kind != "ipip" {
		return nil, errors.Join(missing, fmt.Errorf("interface %s is of kind %s, not ipip: give it another name, lb needs this one", device, current.Device.Kind))
	}
	mss, err := segment(current.Links, want.Nodes)
	if err != nil {
		return nil, errors.Join(missing, err)
	}

	var steps []Step
	if current.Device.Kind == "" {
		steps = append(steps, Step{Action: CreateDevice}) // first: without ipip nothing else shall change
	}
	steps = append(steps, arpSteps(current.Sysctls)...)
	if key := device + "/rp_filter"; current.Sysctls[key] != "2" {
		steps = append(steps, Step{Action: SetSysctl, Key: key, Value: "2", Current: current.Sysctls[key]})
	}
	if !current.Device.Up {
		steps = append(steps, Step{Action: DeviceUp})
	}
	if c := current.Clamp; c == nil || c.MSS != mss || !slices.Equal(c.VIPs, vips) {
		steps = append(steps, Step{Action: WriteClamp, Clamp: MSSClamp{VIPs: vips, MSS: mss}})
	}
	for _, v := range vips {
		if !slices.ContainsFunc(current.VIPs, func(a Address) bool { return a.Addr == v }) {
			steps = append(steps, Step{Action: AddVIP, VIP: v})
		}
	}
	return append(steps, removals(current.VIPs, vips)...), missing
}

// arpSteps sees to it that nobody learns of the virtual IPs by ARP. The kernel takes the higher value of "all" and the interface.
// Of arp_ignore 1, 2 and 8 keep a virtual IP to itself, 3 does not, and 4 to 7 mean nothing.
func arpSteps(sysctls map[string]string) []Step {
	silent := func(v string) bool { return v == "1" || v == "2" || v == "8" }
	var steps []Step
	for _, key := range slices.Sorted(maps.Keys(sysctls)) {
		value := sysctls[key]
		switch {
		case key == "all/arp_announce":
			if value != "2" {
				steps = append(steps, Step{Action: SetSysctl, Key: key, Value: "2", Current: value})
			}
		case !strings.HasSuffix(key, "/arp_ignore"):
		case key == "all/arp_ignore" && !silent(value), value != "0" && !silent(value):
			steps = append(steps, Step{Action: SetSysctl, Key: key, Value: "1", Current: value})
		}
	}
	return steps
}

// segment returns the largest TCP segment that a client may send so that the tunnel's packets fit every link that the balancer's
// packets come by.
func segment(links []Link, nodes []netip.Addr) (int, error) {
	var by []Link
	for _, n := range nodes {
		i := slices.IndexFunc(links, func(l Link) bool { return slices.Contains(l.Addresses, n.Unmap()) })
		if i >= 0 {
			by = append(by, links[i])
		}
	}
	if len(by) < len(nodes) || len(nodes) == 0 {
		by = links // an address on lo that the network routes here: its packets may come by any interface
	}
	if len(by) == 0 {
		return 0, errors.New("no interface but loopback and tunnel is up with an address, so no balancer can reach this machine: see `ip addr`")
	}
	least := slices.MinFunc(by, func(a, b Link) int { return cmp.Compare(a.MTU, b.MTU) })
	if least.MTU < smallestMTU {
		return 0, fmt.Errorf("interface %s carries packets of %d bytes only: see `ip link set %s mtu`", least.Name, least.MTU, least.Name)
	}
	return min(least.MTU, largestMTU) - ipHeader - ipHeader - tcpHeader, nil
}

// split sorts out the virtual IPs: IPv4, each once, and an error that names the rest.
func split(all []netip.Addr) ([]netip.Addr, error) {
	var v4 []netip.Addr
	var errs []error
	for _, a := range all {
		a = a.Unmap()
		switch {
		case a.Is4():
			v4 = append(v4, a)
		case a.IsValid():
			errs = append(errs, fmt.Errorf("%s: %w", a, ErrIPv6))
		}
	}
	slices.SortFunc(v4, netip.Addr.Compare)
	return slices.Compact(v4), errors.Join(errs...)
}

// removals takes away the addresses that lb put there and nobody wants.
func removals(have []Address, want []netip.Addr) []Step {
	var steps []Step
	for _, a := range slices.SortedFunc(slices.Values(have), func(a, b Address) int { return a.Addr.Compare(b.Addr) }) {
		if a.Managed && !slices.Contains(want, a.Addr) {
			steps = append(steps, Step{Action: RemoveVIP, VIP: a.Addr})
		}
	}
	return steps
}

// PlanDown lists the steps that undo what lb set up, virtual IPs first. None when nothing is left.
func PlanDown(current State) []Step {
	steps := removals(current.VIPs, nil)
	if current.Clamp != nil {
		steps = append(steps, Step{Action: DeleteClamp})
	}
	note := current.Saved
	if note.DeviceUp && current.Device.Up && !current.Device.InUse {
		steps = append(steps, Step{Action: DeviceDown})
	}
	for _, key := range slices.Sorted(maps.Keys(note.Sysctls)) {
		c := note.Sysctls[key]
		if value, there := current.Sysctls[key]; there && value == c.Set && c.Before != c.Set {
			steps = append(steps, Step{Action: RestoreSysctl, Key: key, Value: c.Before, Current: value})
		}
	}
	if note.DeviceUp || len(note.Sysctls) > 0 {
		steps = append(steps, Step{Action: DeleteSaved})
	}
	return steps
}

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

// State is the current state of the machine.
type State struct {
	Device  Device
	VIPs    []Address         // the IPv4 /32 addresses on tunl0
	Links   []Link            // the other interfaces that are up and have addresses
	Sysctls map[string]string // values of arp_ignore, arp_announce and rp_filter by keys such as "all/arp_ignore"
	Clamp   *MSSClamp         // in nftables; nil if there is no table, zero if it is not as lb writes it
	Saved   Saved             // what lb changed since boot
}

// Device is tunl0.
type Device struct {
	Kind  string // "ipip"; "" if there is no tunl0
	Up    bool
	InUse bool // it has addresses other than lb's
}

// Address is an address on tunl0.
type Address struct {
	Addr    netip.Addr
	Managed bool // added by lb
}

// Link is an interface over which balancers' packets may arrive.
type Link struct {
	Name      string
	MTU       int // bytes
	Addresses []netip.Addr
}

// Sizes in bytes.
const (
	ipHeader  = 20 // IPv4 without options: the tunnel's header and the inner one
	tcpHeader = 20 // without options, which are part of the segment
	minMTU    = 68 // the minimum for IPv4
	maxMTU    = 65535
)

// Plan returns the steps from the current to the desired state in a safe order: sysctls first, virtual IPs last. It
// returns none if the states are equal. The error names what no step can achieve; the steps are valid all the same.
func Plan(current State, desired Desired) ([]Step, error) {
	vips, missing := ipv4VIPs(desired.VIPs)
	if len(vips) == 0 {
		return planDown(current), missing
	}
	if current.Device.Kind != "" && current.Device.Kind != "ipip" {
		return nil, errors.Join(missing, fmt.Errorf("interface %s has type %s, not ipip: rename it, since lb needs that name",
			device, current.Device.Kind))
	}
	mss, err := maxSegmentSize(current.Links, desired.Nodes)
	if err != nil {
		return nil, errors.Join(missing, err)
	}

	var steps []Step
	if current.Device.Kind == "" {
		steps = append(steps, Step{Action: CreateDevice}) // first: without ipip nothing else may change
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

// arpSteps keeps the machine from answering ARP for virtual IPs. The kernel uses the higher value of "all" and the
// interface. Of arp_ignore, 1, 2 and 8 hide a virtual IP on tunl0, 3 does not, and 4 to 7 are reserved.
func arpSteps(sysctls map[string]string) []Step {
	hidesVIP := func(v string) bool { return v == "1" || v == "2" || v == "8" }
	var steps []Step
	for _, key := range slices.Sorted(maps.Keys(sysctls)) {
		value := sysctls[key]
		switch {
		case key == "all/arp_announce":
			if value != "2" {
				steps = append(steps, Step{Action: SetSysctl, Key: key, Value: "2", Current: value})
			}
		case !strings.HasSuffix(key, "/arp_ignore"):
		case key == "all/arp_ignore" && !hidesVIP(value), value != "0" && !hidesVIP(value):
			steps = append(steps, Step{Action: SetSysctl, Key: key, Value: "1", Current: value})
		}
	}
	return steps
}

// maxSegmentSize returns the largest TCP segment for which tunnelled packets fit every link that they may arrive on.
func maxSegmentSize(links []Link, nodes []netip.Addr) (int, error) {
	var used []Link
	for _, n := range nodes {
		i := slices.IndexFunc(links, func(l Link) bool { return slices.Contains(l.Addresses, n.Unmap()) })
		if i >= 0 {
			used = append(used, links[i])
		}
	}
	if len(used) < len(nodes) || len(nodes) == 0 {
		used = links // an address on lo that is routed here: packets may arrive on any interface
	}
	if len(used) == 0 {
		return 0, errors.New("no interface except loopback and the tunnel is up with an address, " +
			"so no balancer can reach this machine: see `ip addr`")
	}
	smallest := slices.MinFunc(used, func(a, b Link) int { return cmp.Compare(a.MTU, b.MTU) })
	if smallest.MTU < minMTU {
		return 0, fmt.Errorf("the MTU of interface %s is only %d bytes: raise it with `ip link set %s mtu BYTES`",
			smallest.Name, smallest.MTU, smallest.Name)
	}
	return min(smallest.MTU, maxMTU) - ipHeader - ipHeader - tcpHeader, nil
}

// ipv4VIPs returns the IPv4 virtual IPs, sorted and without duplicates, and an error that names the others.
func ipv4VIPs(all []netip.Addr) ([]netip.Addr, error) {
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

// removals removes addresses that lb added and that are no longer desired.
func removals(current []Address, desired []netip.Addr) []Step {
	var steps []Step
	for _, a := range slices.SortedFunc(slices.Values(current), func(a, b Address) int { return a.Addr.Compare(b.Addr) }) {
		if a.Managed && !slices.Contains(desired, a.Addr) {
			steps = append(steps, Step{Action: RemoveVIP, VIP: a.Addr})
		}
	}
	return steps
}

// planDown returns the steps that undo Up, virtual IPs first; none if nothing is left.
func planDown(current State) []Step {
	steps := removals(current.VIPs, nil)
	if current.Clamp != nil {
		steps = append(steps, Step{Action: DeleteClamp})
	}
	saved := current.Saved
	if saved.DeviceUp && current.Device.Up && !current.Device.InUse {
		steps = append(steps, Step{Action: DeviceDown})
	}
	for _, key := range slices.Sorted(maps.Keys(saved.Sysctls)) {
		c := saved.Sysctls[key]
		if value, exists := current.Sysctls[key]; exists && value == c.Set && c.Before != c.Set {
			steps = append(steps, Step{Action: RestoreSysctl, Key: key, Value: c.Before, Current: value})
		}
	}
	if saved.DeviceUp || len(saved.Sysctls) > 0 {
		steps = append(steps, Step{Action: DeleteSaved})
	}
	return steps
}

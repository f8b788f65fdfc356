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
	Device  Device            // tunl0
	Device6 Device            // ip6tnl0
	VIPs    []Address         // the /32 addresses on tunl0 and the /128 ones on ip6tnl0
	Links   []Link            // the other interfaces that are up and have addresses
	Sysctls map[string]string // values of arp_ignore, arp_announce and rp_filter by keys such as "all/arp_ignore"
	Clamp   *MSSClamp         // in nftables; nil if there is no table, zero if it is not as lb writes it
	Saved   Saved             // what lb changed since boot

	// For what someone else set up.

	Tunnels   []Tunnel     // all IPIP interfaces, whatever their names
	Addresses []netip.Addr // of all interfaces
}

// Device is tunl0 or ip6tnl0.
type Device struct {
	Kind  string // "ipip", "ip6tnl"; "" if there is no such interface
	Up    bool
	InUse bool // it has addresses other than lb's
}

// Tunnel is an interface that decapsulates packets.
type Tunnel struct {
	Name string
	Kind string // "ipip" or "ip6tnl"
	Up   bool
}

// device returns the family's device.
func (s State) device(f family) Device {
	if f.bits == ipv6.bits {
		return s.Device6
	}
	return s.Device
}

// Address is an address on tunl0 or ip6tnl0.
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

// serves reports whether the link has addresses of the family that packets from other networks can reach.
func (l Link) serves(f family) bool {
	return slices.ContainsFunc(l.Addresses, func(a netip.Addr) bool { return f.has(a) && (a.Is4() || !a.IsLinkLocalUnicast()) })
}

// Sizes in bytes.
const (
	tcpHeader = 20 // without options, which are part of the segment
	maxMTU    = 65535
)

// Plan returns the steps from the current to the desired state in a safe order: sysctls first, virtual IPs after the clamp. It
// returns none if the states are equal. The error names what no step can achieve; the steps are valid all the same.
func Plan(current State, desired Desired) ([]Step, error) {
	steps, impossible := plan(current, desired)
	if len(impossible) > 0 {
		return steps, errors.New(Describe(impossible))
	}
	return steps, nil
}

// plan is Plan with the virtual IPs that each error affects.
func plan(current State, desired Desired) (steps []Step, impossible []Fault) {
	vips := sortedVIPs(desired.VIPs)
	if len(vips) == 0 {
		return planDown(current), nil
	}
	clamp := MSSClamp{VIPs: vips}
	possible := func(f family, mss *int) []netip.Addr {
		wanted := f.of(vips)
		if len(wanted) == 0 {
			return nil
		}
		err := current.conflict(f)
		if err == nil {
			*mss, err = maxSegmentSize(f, current.Links, f.of(desired.Nodes))
		}
		if err != nil {
			impossible = append(impossible, Fault{err.Error(), wanted})
			clamp.VIPs = slices.DeleteFunc(slices.Clone(clamp.VIPs), f.has)
			return nil
		}
		return wanted
	}
	v4, v6 := possible(ipv4, &clamp.MSS), possible(ipv6, &clamp.MSS6)
	if len(v4) > 0 {
		steps = append(steps, current.deviceSteps(ipv4)...)
	}
	if len(clamp.VIPs) > 0 && (current.Clamp == nil || !current.Clamp.equal(clamp)) {
		steps = append(steps, Step{Action: WriteClamp, Clamp: clamp})
	}
	steps = append(steps, current.additions(v4)...)
	if len(v6) > 0 {
		steps = append(steps, current.deviceSteps(ipv6)...)
	}
	steps = append(steps, current.additions(v6)...)
	return append(steps, removals(current.VIPs, vips)...), impossible
}

// conflict returns why lb cannot use the family's device.
func (s State) conflict(f family) error {
	if kind := s.device(f).Kind; kind != "" && kind != f.kind {
		return fmt.Errorf("interface %s has type %s, not %s: rename it, since lb needs that name", f.device, kind, f.kind)
	}
	return nil
}

// deviceSteps make the family's device ready for virtual IPs.
func (s State) deviceSteps(f family) []Step {
	var steps []Step
	if s.device(f).Kind == "" {
		steps = append(steps, Step{Action: CreateDevice, Device: f.device}) // first: without the module nothing else may change
	}
	if f.sysctls {
		steps = append(steps, arpSteps(s.Sysctls)...)
		if key := f.device + "/rp_filter"; s.Sysctls[key] != "2" {
			steps = append(steps, Step{Action: SetSysctl, Key: key, Value: "2", Current: s.Sysctls[key]})
		}
	}
	if !s.device(f).Up {
		steps = append(steps, Step{Action: DeviceUp, Device: f.device})
	}
	return steps
}

// additions add the virtual IPs that are missing.
func (s State) additions(vips []netip.Addr) []Step {
	var steps []Step
	for _, v := range vips {
		if !slices.ContainsFunc(s.VIPs, func(a Address) bool { return a.Addr == v }) {
			steps = append(steps, Step{Action: AddVIP, VIP: v})
		}
	}
	return steps
}

// arpSteps keeps the machine from answering ARP for virtual IPs. The kernel uses the higher value of "all" and the
// interface. Of arp_ignore, 1, 2 and 8 hide a virtual IP on tunl0, 3 does not, and 4 to 7 are reserved.
func arpSteps(sysctls map[string]string) []Step {
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

// hidesVIP reports whether with this arp_ignore an interface does not respond for a virtual IP on another interface.
func hidesVIP(arpIgnore string) bool { return arpIgnore == "1" || arpIgnore == "2" || arpIgnore == "8" }

// maxSegmentSize returns the largest TCP segment for which tunnelled packets fit every link that they may arrive on.
func maxSegmentSize(f family, links []Link, nodes []netip.Addr) (int, error) {
	var used []Link
	for _, n := range nodes {
		i := slices.IndexFunc(links, func(l Link) bool { return slices.Contains(l.Addresses, n) })
		if i >= 0 {
			used = append(used, links[i])
		}
	}
	if len(used) < len(nodes) || len(nodes) == 0 {
		used = nil // an address on lo that is routed here: packets may arrive on any interface
		for _, l := range links {
			if l.serves(f) {
				used = append(used, l)
			}
		}
	}
	if len(used) == 0 {
		return 0, errors.New("no interface except loopback and the tunnel is up with an address, " +
			"so no balancer can reach this machine: see `ip addr`")
	}
	smallest := slices.MinFunc(used, func(a, b Link) int { return cmp.Compare(a.MTU, b.MTU) })
	if smallest.MTU < f.minMTU {
		return 0, fmt.Errorf("the MTU of interface %s is only %d bytes: raise it with `ip link set %s mtu BYTES`",
			smallest.Name, smallest.MTU, smallest.Name)
	}
	return f.segment(smallest.MTU), nil
}

// sortedVIPs returns the virtual IPs sorted, IPv4 first, and without duplicates.
func sortedVIPs(all []netip.Addr) []netip.Addr {
	var vips []netip.Addr
	for _, a := range all {
		if a.IsValid() {
			vips = append(vips, a.Unmap().WithZone(""))
		}
	}
	return sortUnique(vips)
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
	for _, f := range []family{ipv4, ipv6} {
		if d := current.device(f); *saved.deviceUp(f) && d.Up && !d.InUse {
			steps = append(steps, Step{Action: DeviceDown, Device: f.device})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(saved.Sysctls)) {
		c := saved.Sysctls[key]
		if value, exists := current.Sysctls[key]; exists && value == c.Set && c.Before != c.Set {
			steps = append(steps, Step{Action: RestoreSysctl, Key: key, Value: c.Before, Current: value})
		}
	}
	if !saved.empty() {
		steps = append(steps, Step{Action: DeleteSaved})
	}
	return steps
}

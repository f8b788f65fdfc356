package consistency

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/ocf/crm"
)

// address is a virtual IP of a cluster in all views.
type address struct {
	VIP
	resource crm.Resource // empty: not in Pacemaker
	nic      string       // the interface that Pacemaker puts it on; "": IPaddr2 chooses by network
}

// addresses returns the virtual IPs that the configuration gives the cluster. If the configuration cannot be read, it returns those that
// Pacemaker runs where the cluster runs.
func (v Views) addresses(f facts) []address {
	wanted := map[netip.Addr]bool{}
	var order []netip.Addr
	want := func(a netip.Addr) {
		if !wanted[a] {
			wanted[a], order = true, append(order, a)
		}
	}
	if f.config != nil {
		for _, vip := range f.config.VIPs {
			want(vip.Address)
		}
	}
	resources := map[netip.Addr]crm.Resource{}
	for _, r := range v.Pacemaker.Status.Resources {
		a, err := netip.ParseAddr(v.Pacemaker.Configuration.Params[r.ID]["ip"])
		if r.Agent != addressAgent || err != nil {
			continue
		}
		resources[a] = r
		if f.config == nil && v.colocated(r, f.resource) {
			want(a)
		}
	}
	var all []address
	for _, a := range order {
		r, found := resources[a]
		all = append(all, address{
			VIP:      VIP{Address: a.String(), Pacemaker: v.placementOf(r, found), Interfaces: v.interfaces(a)},
			resource: r, nic: v.Pacemaker.Configuration.Params[r.ID]["nic"],
		})
	}
	return all
}

// interfaces returns the interfaces of this machine that have the address. A machine that receives tunnelled packets also has the address
// on an interface that does not answer ARP (docs/rules.md); those are left out.
func (v Views) interfaces(a netip.Addr) []string {
	names := []string{}
	for _, on := range v.Kernel.Addresses {
		if on.Address == a && !slices.Contains([]string{"lo", "tunl0", "ip6tnl0"}, on.Interface) {
			names = append(names, on.Interface)
		}
	}
	return names
}

// addressFindings compares where an address is with where its cluster runs.
func (v Views) addressFindings(f facts, a address) []Finding {
	r := a.resource
	switch {
	case f.placement.State == pacemakerSilent || f.placement.State == absent:
		return nil // reported already, and the right place depends on it
	case r.ID == "":
		return []Finding{problem("address-not-in-pacemaker",
			fmt.Sprintf("the virtual IP %s is in %s but not in Pacemaker: no machine gets it", a.Address, v.Config.Path),
			loadCommand(f.name))}
	case len(r.On) == 0 && len(f.resource.On) == 0:
		return nil // reported already
	}
	found := v.resourceFindings(r)
	if len(found) > 0 && (r.Pending != "" || r.Failed || r.Blocked || len(r.On) == 0) {
		return found
	}
	withoutCluster := slices.ContainsFunc(r.On, func(m string) bool { return !slices.Contains(f.resource.On, m) })
	if withoutCluster && !f.resource.Failed && !f.resource.Blocked {
		found = append(found, v.apart(f, a))
	}
	return append(found, v.localAddressFindings(a)...)
}

// localAddressFindings compares Pacemaker and this machine's interfaces: at most one finding.
func (v Views) localAddressFindings(a address) []Finding {
	local := strings.Join(a.Interfaces, ", ")
	switch isHere := slices.Contains(a.resource.On, v.Machine); {
	case isHere && len(a.Interfaces) == 0:
		return []Finding{problem("address-missing",
			fmt.Sprintf("Pacemaker runs %s here, but no interface of this machine has it: clients get no response", a.Address),
			fmt.Sprintf("Pacemaker's monitor notices within 10 s and restores it; to do it now: `crm resource refresh %s`", a.resource.ID))}
	case isHere && a.nic != "" && !slices.Contains(a.Interfaces, a.nic):
		return []Finding{problem("address-misplaced",
			fmt.Sprintf("Pacemaker runs %s on %s here, but the kernel has it on %s", a.Address, a.nic, local),
			fmt.Sprintf("remove it there, `ip address del %s dev %s`, and make Pacemaker check: `crm resource refresh %s`",
				hostPrefix(a.Address), a.Interfaces[0], a.resource.ID))}
	case !isHere && len(a.Interfaces) > 0:
		return []Finding{problem("address-astray",
			fmt.Sprintf("%s of this machine has %s, but Pacemaker runs it %s: two machines may answer for it", local, a.Address,
				a.Pacemaker),
			fmt.Sprintf("`ip address del %s dev %s`", hostPrefix(a.Address), a.Interfaces[0]))}
	}
	return nil
}

// apart reports an address on a machine that does not run its cluster.
func (v Views) apart(f facts, a address) Finding {
	id := a.resource.ID
	fix := fmt.Sprintf("`crm_resource --why --resource %s` shows what keeps it there; after fixing that: `crm resource cleanup %s`", id, id)
	if !v.colocated(a.resource, f.resource) {
		fix = fmt.Sprintf("Pacemaker has no rule that runs %s where the cluster runs; recreate it: "+
			"`crm resource stop %s && crm configure delete %s`, then %s", id, id, id, loadCommand(f.name))
	}
	return problem("address-apart",
		fmt.Sprintf("Pacemaker runs %s %s and the cluster %s: the machine with the address does not balance", a.Address, a.Pacemaker,
			f.placement),
		fix)
}

// colocated reports whether Pacemaker must run an address where a cluster runs.
func (v Views) colocated(address, cluster crm.Resource) bool {
	return address.Group != "" && address.Group == cluster.Group ||
		cluster.ID != "" && slices.Contains(v.Pacemaker.Configuration.Colocated[container(address)], container(cluster))
}

// hostPrefix returns an address with the length of the prefix that IPaddr2 puts on an interface: 32 or 128.
func hostPrefix(a string) string {
	if addr, err := netip.ParseAddr(a); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()).String()
	}
	return a
}

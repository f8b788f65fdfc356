package consistency

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/ocf/crm"
)

// address is a virtual IP of a cluster, with what each says about it.
type address struct {
	VIP
	resource crm.Resource // of Pacemaker; empty when it has none
	nic      string       // that Pacemaker is to put it on; "" is the one whose network it is in
}

// addresses are those that the configuration names for the cluster and, where that cannot be read, those that Pacemaker has beside it.
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
		a, err := netip.ParseAddr(v.Pacemaker.Told.Params[r.ID]["ip"])
		if r.Agent != addressAgent || err != nil {
			continue
		}
		resources[a] = r
		if f.config == nil && v.beside(r, f.resource) {
			want(a)
		}
	}
	var all []address
	for _, a := range order {
		r, has := resources[a]
		all = append(all, address{
			VIP:      VIP{Address: a.String(), Pacemaker: v.where(r, has), Interfaces: v.interfaces(a)},
			resource: r, nic: v.Pacemaker.Told.Params[r.ID]["nic"],
		})
	}
	return all
}

// interfaces are those of this machine that have the address. Where a machine takes tunnelled packets of another balancer, it has the address on one of
// its own that answers nobody (docs/rules.md); those do not count.
func (v Views) interfaces(a netip.Addr) []string {
	names := []string{}
	for _, on := range v.Kernel.Addresses {
		if on.Address == a && !slices.Contains([]string{"lo", "tunl0", "ip6tnl0"}, on.Interface) {
			names = append(names, on.Interface)
		}
	}
	return names
}

// addressFindings compares where an address is with where its cluster is.
func (v Views) addressFindings(f facts, a address) []Finding {
	r, local := a.resource, strings.Join(a.Interfaces, ", ")
	switch {
	case f.where.State == silent || f.where.State == absent:
		return nil // that is told already, and what is right depends on it
	case r.ID == "":
		return []Finding{{Trouble, "address-not-in-pacemaker", fmt.Sprintf("the virtual IP %s is in %s and not in Pacemaker: no machine gets it", a.Address, v.Config.Path),
			fmt.Sprintf("`lb ctl pacemaker %s | crm configure load update -`", f.name)}}
	case len(r.On) == 0 && len(f.resource.On) == 0:
		return nil // that is told already
	}
	found := v.managed(r)
	if len(found) > 0 && (r.Pending != "" || r.Failed || r.Blocked || len(r.On) == 0) {
		return found
	}
	if lost := slices.ContainsFunc(r.On, func(m string) bool { return !slices.Contains(f.resource.On, m) }); lost && !f.resource.Failed && !f.resource.Blocked {
		found = append(found, v.apart(f, a))
	}
	switch isHere := slices.Contains(r.On, v.Machine); {
	case isHere && len(a.Interfaces) == 0:
		found = append(found, Finding{Trouble, "address-missing", fmt.Sprintf("Pacemaker has %s here, and no interface of this machine has it: clients get no answer", a.Address),
			fmt.Sprintf("its monitor sees that within 10 s and puts it back; at once: `crm resource refresh %s`", r.ID)})
	case isHere && a.nic != "" && !slices.Contains(a.Interfaces, a.nic):
		found = append(found, Finding{Trouble, "address-misplaced", fmt.Sprintf("Pacemaker has %s on %s here, and the kernel has it on %s", a.Address, a.nic, local),
			fmt.Sprintf("take it off there, `ip address del %s dev %s`, and have Pacemaker look: `crm resource refresh %s`", prefix(a.Address), a.Interfaces[0], r.ID)})
	case !isHere && len(a.Interfaces) > 0:
		found = append(found, Finding{Trouble, "address-astray", fmt.Sprintf("%s of this machine has %s, and Pacemaker has it %s: two machines may answer for it", local, a.Address, a.Pacemaker),
			fmt.Sprintf("`ip address del %s dev %s`", prefix(a.Address), a.Interfaces[0])})
	}
	return found
}

// apart words that an address is not where its cluster is.
func (v Views) apart(f facts, a address) Finding {
	apart := Finding{Trouble, "address-apart", fmt.Sprintf("Pacemaker has %s %s and the cluster %s: where the address is, nobody balances", a.Address, a.Pacemaker, f.where), ""}
	if !v.beside(a.resource, f.resource) {
		apart.Do = fmt.Sprintf("no rule of Pacemaker's has %s run where the cluster does; have all made anew: `crm resource stop %s && crm configure delete %s`, then `lb ctl pacemaker %s | crm configure load update -`",
			a.resource.ID, a.resource.ID, a.resource.ID, f.name)
		return apart
	}
	apart.Do = fmt.Sprintf("`crm_resource --why --resource %s` tells what keeps it; when that is mended: `crm resource cleanup %s`", a.resource.ID, a.resource.ID)
	return apart
}

// beside tells whether Pacemaker has to run an address where a cluster runs.
func (v Views) beside(address, cluster crm.Resource) bool {
	return address.Group != "" && address.Group == cluster.Group || cluster.ID != "" && slices.Contains(v.Pacemaker.Told.With[holder(address)], holder(cluster))
}

// prefix is an address as IPaddr2 is told to put it on an interface.
func prefix(a string) string {
	if addr, err := netip.ParseAddr(a); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()).String()
	}
	return a
}

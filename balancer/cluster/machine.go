package cluster

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/machine"
)

// Network is what the model knows of the machine's network, and makes of it.
type Network struct{ *Model }

// Network returns the part of the model about the machine's network.
func (m *Model) Network() Network { return Network{m} }

// Targets returns the virtual IPs of all clusters. Where they are is part of what Observe takes.
func (n Network) Targets() []machine.Target {
	var targets []machine.Target
	for _, c := range n.clusters {
		targets = append(targets, c.targets()...)
	}
	return targets
}

// targets returns the cluster's virtual IPs, each address once for each interface.
func (s *spec) targets() []machine.Target {
	var targets []machine.Target
	for _, v := range s.cfg.VIPs {
		if t := (machine.Target{Address: v.Address, Interface: v.Interface, Mark: s.cfg.Mark}); !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	return targets
}

// Observe gives the model the state of the machine's network. An address that has been here counts as this machine's until another
// one has it, or the cluster stops.
func (n Network) Observe(s *machine.State) {
	n.machine = s
	for _, c := range n.clusters {
		c.hold(s)
	}
}

// hold notes which virtual IPs are this machine's.
func (c *Cluster) hold(s *machine.State) {
	if !c.running || s == nil {
		return
	}
	var held []netip.Addr
	for _, t := range c.targets() {
		p, known := s.Places[t]
		if p.Here || p.Elsewhere != machine.Somebody && slices.Contains(c.held, t.Address) || !known && slices.Contains(c.held, t.Address) {
			held = append(held, t.Address)
		}
	}
	c.held = held
}

// vips describes where the cluster's virtual IPs are.
func (c *Cluster) vips(s *machine.State) []api.VIPStatus {
	statuses := []api.VIPStatus{}
	for _, t := range c.targets() {
		v := api.VIPStatus{Address: t.Address.String(), Arrives: t.Interface, Place: api.PlaceUnknown}
		if s != nil {
			p, followed := s.Places[t]
			v.Interface, v.Fault = p.Interface, p.Fault
			switch {
			case !followed: // it is new in the configuration
			case p.Here && p.Interface == "":
				v.Place = api.PlaceRouted
			case p.Here:
				v.Place = api.PlaceHere
			case p.Elsewhere == machine.Somebody:
				v.Place = api.PlaceElsewhere
			case p.Elsewhere == machine.Nobody:
				v.Place = api.PlaceNowhere
			default:
				v.Place = api.PlaceAbsent
			}
			v.Expected = c.running && p.Elsewhere != machine.Somebody &&
				(p.Here || p.Elsewhere == machine.Nobody || slices.Contains(c.held, t.Address))
		}
		statuses = append(statuses, v)
	}
	return statuses
}

// Problems lists what keeps the running clusters' packets from arriving or their replies from leaving, as far as the state of the
// machine's network shows it.
func (n Network) Problems() []api.Problem {
	if n.machine == nil {
		return nil
	}
	var found []api.Problem
	for _, c := range n.clusters {
		if c.running {
			found = append(found, c.diagnose(n.machine)...)
		}
	}
	return append(found, syncProblems(n.sync, n.machine)...)
}

// Examine lists the problems that a machine has with the clusters of a configuration wherever their virtual IPs are.
func Examine(cfg *config.Config, s *machine.State) []api.Problem {
	m := New(cfg)
	for _, c := range m.clusters {
		c.running = true
	}
	m.machine = s
	return m.Network().Problems()
}

// diagnose lists the problems of one cluster.
func (c *Cluster) diagnose(s *machine.State) []api.Problem {
	d := diagnosis{c, s, nil}
	d.vips()
	d.relay()
	d.forwarding()
	return d.found
}

// diagnosis collects the problems of one running cluster.
type diagnosis struct {
	*Cluster
	machine *machine.State
	found   []api.Problem
}

// The kinds of problems.
const (
	kindVIPAbsent  = "vip_absent"
	kindVIPFault   = "vip_fault"
	kindInterface  = "interface"
	kindForwarding = "ip_forward"
	kindRPFilter   = "rp_filter"
	kindSync       = "sync"
)

func (d *diagnosis) add(kind, subject, text, fix string) {
	p := api.Problem{Kind: kind, Cluster: d.cfg.Name, Subject: subject, Text: text, Fix: fix}
	if !slices.ContainsFunc(d.found, p.Same) {
		d.found = append(d.found, p)
	}
}

// vips looks for virtual IPs that no packet reaches.
func (d *diagnosis) vips() {
	for i, v := range d.Cluster.vips(d.machine) {
		t := d.targets()[i]
		p := d.machine.Places[t]
		switch {
		case v.Expected && v.Place == api.PlaceNowhere:
			d.add(kindVIPAbsent, v.Address, "virtual IP "+v.Address+" is on no machine: not on this one, and no neighbour answers for it",
				"add it (`ip address add "+hostPrefix(t.Address)+" dev "+orInterface(v.Arrives)+"`), or see why Pacemaker does not")
		case v.Expected && !p.Here:
			d.add(kindVIPAbsent, v.Address, "virtual IP "+v.Address+" has left this machine, and no other is known to have it",
				"add it again (`ip address add "+hostPrefix(t.Address)+" dev "+orInterface(v.Arrives)+
					"`); if another machine serves it, `lb ctl cluster stop "+d.cfg.Name+"` here")
		}
		if v.Fault != "" {
			d.add(kindVIPFault, v.Address, "no packet reaches virtual IP "+v.Address+" here: "+v.Fault, "`ip address show` has more")
		}
		d.receives("vips.interface", v.Arrives, "packets for "+v.Address+" get no mark, and clients no answer",
			"correct vips.interface, or rename the interface back")
	}
}

// receives looks for an interface that is not there or down.
func (d *diagnosis) receives(key, name, effect, fix string) {
	if missing := d.machine.Missing(name); missing != "" {
		d.add(kindInterface, name, key+": "+missing+": "+effect, fix)
	} else if link, ok := d.machine.Link(name); ok && !link.Up {
		d.add(kindInterface, name, key+": interface "+name+" is down: no packet arrives there", "`ip link set "+name+" up`, and its cable")
	}
}

// relay looks at what packets from other data centres need.
func (d *diagnosis) relay() {
	if !d.cfg.Relay.Enabled {
		return
	}
	for _, v := range d.cfg.VIPs {
		for _, name := range d.cfg.Relay.InterfacesFor(v.Address) {
			d.receives("relay_interfaces", name, "packets from other data centres are lost",
				"`modprobe ipip` or `modprobe ip6_tunnel`, and `ip link set "+name+" up`, or correct relay_interfaces")
			if link, ok := d.machine.Link(name); ok && link.Strict4 && v.Address.Is4() {
				setting := interfaceSetting(name, "rp_filter")
				d.add(kindRPFilter, setting, "rp_filter is 1 on "+name+": the kernel takes packets from other data centres for forged, "+
					"and drops them", "`sysctl -w "+setting+"=2`, also in /etc/sysctl.d; it overrides 1 in net.ipv4.conf.all.rp_filter")
			}
		}
	}
}

// forwarding looks whether the machine forwards what nodes reply.
func (d *diagnosis) forwarding() {
	if d.cfg.Forwarding != config.NAT {
		return
	}
	const effect = `: the kernel drops what nodes reply with forwarding = "nat", and clients get no answer`
	add := func(setting string) {
		d.add(kindForwarding, setting, setting+" is 0"+effect, "`sysctl -w "+setting+"=1`, also in /etc/sysctl.d, or "+
			"balancer.set_sysctls = true")
	}
	for _, n := range d.cfg.Nodes {
		switch {
		case n.Address.Is6():
			if !d.machine.Forward6 {
				add("net.ipv6.conf.all.forwarding")
			}
		case !d.machine.Forward4:
			add("net.ipv4.ip_forward")
		default:
			for _, l := range d.machine.Links {
				if !l.Forward4 && l.Reaches(n.Address) {
					add(interfaceSetting(l.Name, "forwarding"))
				}
			}
		}
	}
}

// syncProblems looks at what connection synchronisation needs. Clients notice when another balancer takes over.
func syncProblems(wanted config.Sync, s *machine.State) []api.Problem {
	const effect = ": connections are not synchronized, and break when another balancer takes over"
	if wanted.Interface == "" {
		return nil
	}
	text, fix := s.Missing(wanted.Interface), "correct balancer.sync.interface, or make the interface again"
	if link, ok := s.Link(wanted.Interface); ok {
		switch {
		case !link.Up:
			text, fix = "interface "+wanted.Interface+" is down", "`ip link set "+wanted.Interface+" up`, and its cable"
		case !link.SourceV4().IsValid():
			text, fix = "interface "+wanted.Interface+" has no IPv4 address", "give it one: the kernel synchronizes connections over IPv4"
		}
	}
	if text == "" {
		return nil
	}
	return []api.Problem{{Kind: kindSync, Subject: wanted.Interface, Text: "balancer.sync.interface: " + text + effect, Fix: fix}}
}

// interfaceSetting is a setting of an interface, as sysctl takes it.
func interfaceSetting(name, setting string) string {
	if strings.Contains(name, ".") {
		return "net/ipv4/conf/" + name + "/" + setting // with dots it would be another interface
	}
	return "net.ipv4.conf." + name + "." + setting
}

func hostPrefix(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

func orInterface(name string) string {
	if name == "" {
		return "INTERFACE"
	}
	return name
}

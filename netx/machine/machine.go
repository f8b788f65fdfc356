// Package machine observes the network of this machine: its interfaces and addresses, whether it forwards packets, and where virtual IPs
// are. The kernel's notifications say when to look again.
package machine

import (
	"net/netip"
	"slices"
)

// State is what the kernel has. It is never changed.
type State struct {
	Links   []Link            // by index
	Renamed map[string]string // names that interfaces had since the start, with their present names
	Places  map[Target]Place  // of the followed addresses

	Forward4 bool // net.ipv4.ip_forward
	Forward6 bool // net.ipv6.conf.all.forwarding
}

// Link is a network interface.
type Link struct {
	Index     int // another one if the interface was deleted and made again
	Name      string
	Up        bool // administratively, and with a carrier
	Addresses []Address
	Forward4  bool // forwards IPv4 packets that arrive here
	Strict4   bool // drops IPv4 packets whose source is reached over another interface: rp_filter is 1

	resolves bool // addresses of neighbours: by ARP or neighbour discovery
	tunnel   bool // ipip or ip6tnl: a virtual IP here makes the machine a node of its cluster
}

// Address is an address of an interface.
type Address struct {
	netip.Prefix
	Tentative bool // IPv6: the kernel still looks for another machine that has it, and takes no packets for it
	Duplicate bool // IPv6: it has found one
}

// Target is an address whose place is of interest.
type Target struct {
	Address   netip.Addr
	Interface string // where its packets arrive; "": any
	Mark      uint32 // of its packets, which may have routes of their own
}

// Place says where an address is.
type Place struct {
	Here      bool   // the kernel takes its packets for its own
	Interface string // that has it; "": only a route of type local leads here
	Fault     string // why nothing reaches it all the same; "": nothing known
	Elsewhere Answer // for an address that is not here
}

// directly returns the interface whose network has the target's address.
func (s *State) directly(t Target) (Link, bool) {
	at := slices.IndexFunc(s.Links, func(l Link) bool {
		return (t.Interface == "" || t.Interface == l.Name) && slices.ContainsFunc(l.Addresses, func(a Address) bool {
			return a.Contains(t.Address) && !a.IsSingleIP()
		})
	})
	if at < 0 {
		return Link{}, false
	}
	return s.Links[at], true
}

// tunnelled reports whether a tunnel has an address.
func (s *State) tunnelled(address netip.Addr) bool {
	return slices.ContainsFunc(s.Links, func(l Link) bool {
		return l.tunnel && slices.ContainsFunc(l.Addresses, func(a Address) bool { return a.Addr() == address })
	})
}

// Answer says whether another machine has an address.
type Answer uint8

// The answers.
const (
	Unknown  Answer = iota // no interface of this machine is directly in the address's network
	Asking                 // this machine asks its neighbours
	Somebody               // a neighbour has it
	Nobody                 // no neighbour answers for it
)

// Link returns the interface of that name.
func (s *State) Link(name string) (Link, bool) {
	at := slices.IndexFunc(s.Links, func(l Link) bool { return l.Name == name })
	if at < 0 {
		return Link{}, false
	}
	return s.Links[at], true
}

// Missing describes an interface that is not there; "" for one that is.
func (s *State) Missing(name string) string {
	if _, ok := s.Link(name); ok || name == "" {
		return ""
	}
	if now := s.Renamed[name]; now != "" {
		return "interface " + name + " is now named " + now
	}
	return "this machine has no interface " + name
}

// SourceV4 is the address that the kernel's sync daemon sends from; invalid: the interface has none.
func (l Link) SourceV4() netip.Addr {
	for _, a := range l.Addresses {
		if a.Addr().Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// Reaches reports whether an address is in a network of the interface.
func (l Link) Reaches(address netip.Addr) bool {
	return slices.ContainsFunc(l.Addresses, func(a Address) bool { return a.Contains(address) })
}

// owner returns the interface that has an address, if possible the preferred one. Tunnels do not count: the network does not learn
// from them where the address is.
func (s *State) owner(address netip.Addr, preferred string) (owner Link, a Address, found bool) {
	for _, l := range s.Links {
		if l.tunnel {
			continue
		}
		at := slices.IndexFunc(l.Addresses, func(a Address) bool { return a.Addr() == address })
		if at >= 0 && (!found || l.Name == preferred) {
			owner, a, found = l, l.Addresses[at], true
		}
	}
	return owner, a, found
}

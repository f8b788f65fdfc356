package machine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reader reads the state through sockets of the network namespace in which it was opened.
type reader struct {
	handle *netlink.Handle
	conn   *mdnetlink.Conn
}

func openReader() (*reader, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	conn, err := mdnetlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &reader{handle, conn}, nil
}

func (r *reader) close() error {
	r.handle.Close()
	return r.conn.Close()
}

// read reads the state with the places of the targets. was is the state before.
func (r *reader) read(targets []Target, was *State) (*State, error) {
	s := &State{Places: map[Target]Place{}}
	err := r.readLinks(s)
	if err == nil {
		err = r.readAddresses(s)
	}
	if err == nil {
		err = r.readSettings(s)
	}
	if err != nil {
		return nil, err
	}
	s.Renamed = renames(was, s)
	n := neighbours{reader: r, known: map[table][]netlink.Neigh{}}
	for _, t := range targets {
		place, err := n.place(s, t)
		if err != nil {
			return nil, err
		}
		if place.Elsewhere == Asking && was.Places[t].Elsewhere == Nobody {
			place.Elsewhere = Nobody // until somebody answers
		}
		s.Places[t] = place
	}
	return s, nil
}

func (r *reader) readLinks(s *State) error {
	links, err := r.handle.LinkList()
	if err != nil {
		return fmt.Errorf("list the interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		s.Links = append(s.Links, Link{
			Index: a.Index, Name: a.Name, tunnel: l.Type() == "ipip" || l.Type() == "ip6tnl",
			Up:       a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
			resolves: a.RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK|unix.IFF_POINTOPOINT) == 0,
		})
	}
	slices.SortFunc(s.Links, func(a, b Link) int { return a.Index - b.Index })
	return nil
}

func (r *reader) readAddresses(s *State) error {
	addresses, err := r.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses: %w", err)
	}
	for _, a := range addresses {
		address, ok := netip.AddrFromSlice(a.IP)
		at := slices.IndexFunc(s.Links, func(l Link) bool { return l.Index == a.LinkIndex })
		if !ok || at < 0 {
			continue // the interface is new: another notification follows
		}
		bits, _ := a.Mask.Size()
		s.Links[at].Addresses = append(s.Links[at].Addresses, Address{
			Prefix:    netip.PrefixFrom(address.Unmap(), bits),
			Tentative: a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
			Duplicate: a.Flags&unix.IFA_F_DADFAILED != 0,
		})
	}
	return nil
}

// renames adds to the names that interfaces had those that changed between two states.
func renames(was, is *State) map[string]string {
	names := map[string]string{}
	for _, l := range is.Links {
		for _, before := range was.Links {
			if before.Index != l.Index {
				continue
			}
			names[before.Name] = l.Name
			for old, then := range was.Renamed {
				if then == before.Name {
					names[old] = l.Name
				}
			}
		}
	}
	for _, l := range is.Links {
		delete(names, l.Name) // an interface has that name
	}
	return names
}

// neighbours finds the places of addresses. It lists the neighbours of each interface once.
type neighbours struct {
	*reader
	known map[table][]netlink.Neigh
}

// table is the neighbours of an interface in one address family.
type table struct{ index, family int }

// place finds out where an address is.
func (n *neighbours) place(s *State, t Target) (Place, error) {
	owner, address, found := s.owner(t.Address, t.Interface)
	unusable := address.Tentative || address.Duplicate
	if found && !unusable {
		p := Place{Here: true, Interface: owner.Name}
		if !owner.Up {
			p.Fault = "interface " + owner.Name + " is down"
		}
		return p, nil
	}
	var p Place
	if address.Duplicate {
		p.Fault = owner.Name + " has it, but the kernel does not use it: duplicate address detection has found it on another machine"
	}
	link, ok, local, err := n.way(s, t, unusable || s.tunnelled(t.Address))
	switch {
	case err != nil:
		return p, err
	case local:
		return Place{Here: true}, nil
	case ok && link.Up && link.resolves && (t.Interface == "" || t.Interface == link.Name):
		p.Elsewhere, err = n.answer(link, t.Address)
	}
	return p, err
}

// way returns the interface whose neighbours may have an address, or that a route of type local leads to this machine. own says that
// the kernel has such a route that does not count.
func (n *neighbours) way(s *State, t Target, own bool) (link Link, ok, local bool, err error) {
	if own {
		link, ok = s.directly(t)
		return link, ok, false, nil
	}
	routes, err := n.handle.RouteGetWithOptions(t.Address.AsSlice(), &netlink.RouteGetOptions{Mark: t.Mark})
	if unroutable(err) {
		return link, false, false, nil
	}
	if err != nil || len(routes) == 0 {
		return link, false, false, fmt.Errorf("look up the route to %s: %w", t.Address, err)
	}
	route := routes[0]
	if route.Type == unix.RTN_LOCAL {
		return link, false, true, nil
	}
	at := slices.IndexFunc(s.Links, func(l Link) bool { return l.Index == route.LinkIndex })
	if at < 0 || route.Type != unix.RTN_UNICAST || len(route.Gw) > 0 || route.Via != nil || len(route.MultiPath) > 0 {
		return link, false, false, nil
	}
	return s.Links[at], true, false, nil
}

// unroutable reports whether the kernel answered that no route leads to an address.
func unroutable(err error) bool {
	for _, e := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.EAGAIN, unix.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// answer returns what the neighbours of an interface have answered about an address, and asks them again.
func (n *neighbours) answer(l Link, address netip.Addr) (Answer, error) {
	family := netlink.FAMILY_V4
	if address.Is6() {
		family = netlink.FAMILY_V6
	}
	key := table{l.Index, family}
	if _, listed := n.known[key]; !listed {
		all, err := n.handle.NeighList(l.Index, family)
		if err != nil {
			return Unknown, fmt.Errorf("list the neighbours of %s: %w", l.Name, err)
		}
		n.known[key] = all
	}
	answer := Asking
	for _, neigh := range n.known[key] {
		if !neigh.IP.Equal(net.IP(address.AsSlice())) {
			continue
		}
		switch {
		case neigh.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE|netlink.NUD_PERMANENT) != 0:
			answer = Somebody
		case neigh.State&netlink.NUD_FAILED != 0:
			answer = Nobody
		}
	}
	if err := n.askNeighbours(l.Index, address); err != nil {
		return Unknown, nil // without privilege, or the interface is going away
	}
	return answer, nil
}

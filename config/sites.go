package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// readLocation reads the name of a data centre: one word, so that it stays one in log lines and lists.
func readLocation(d *decoder, key string) string {
	v := d.str(key, defaultLocation)
	if !isWord(v) {
		d.invalid(key, "is not one word", `use a short name such as "dc1"`)
	}
	return v
}

// isWord reports whether s consists of printable characters without spaces. "" is a word.
func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// relayAddress reads the address to which other data centres send packets.
func relayAddress(d *decoder) netip.Addr {
	const key = "relay_address"
	s := d.str(key, defaultRelayAddress)
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() {
		d.invalid(key, "is not an address that other machines can reach", "use this balancer's own or shared address, such as 10.1.0.5")
		return netip.Addr{}
	}
	return a
}

// readSiteKeys reads the keys about other data centres.
func (l *loader) readSiteKeys(d *decoder, c *Cluster) {
	c.Sites = sites(d)
	c.NonEgressLocations = locations(d, "non_egress_locations")
	c.MaxDownTicks = int(d.integer("max_down_ticks", defaultMaxDownTicks, 0, maxStreak))
	c.Relay = l.relay(d, *c)
}

// relay reads how a cluster receives packets from other data centres.
func (l *loader) relay(d *decoder, c Cluster) Relay {
	const key = "relay_offset"
	offset := d.integer(key, DefaultRelayOffset, 1, math.MaxUint32-1)
	r := Relay{Enabled: d.boolean("relay", defaultRelay), Interfaces: d.strings("relay_interfaces")}
	if len(r.Interfaces) == 0 {
		r.Interfaces = nil // an empty list equals no list
	}
	for i, name := range r.Interfaces {
		if !isInterface(name) {
			d.invalidAt(joinIndex(joinKey(d.path, "relay_interfaces"), i), name, "is not a valid interface name",
				"use a name from `ip link`, such as tunl0")
		}
	}
	if !r.Enabled && len(c.Sites) == 0 || c.Mark == 0 || d.failed(key) {
		return r
	}
	mark := int64(c.Mark) + offset
	if mark > math.MaxUint32 {
		d.invalid(key, fmt.Sprintf("plus fwmark is %d, above the largest mark", mark), "use a smaller fwmark or relay_offset")
		return r
	}
	r.Mark = uint32(mark)
	if !r.Enabled {
		return r // the mark is only used to poll other data centres
	}
	l.relays = append(l.relays, relayMark{d, r.Mark})
	l.claimRelay(d, c, r)
	return r
}

// relayMark is the mark of a cluster's relay.
type relayMark struct {
	d    *decoder
	mark uint32
}

// claimRelay claims the ports that the relay's rules match. A virtual IP of the same cluster for any interface does not conflict: the
// rule with the interface takes precedence.
func (l *loader) claimRelay(d *decoder, c Cluster, r Relay) {
	for _, v := range c.VIPs {
		for _, port := range v.Ports {
			p := vipPort{v.Address, v.Protocol, port}
			for _, iface := range r.InterfacesFor(v.Address) {
				use := slices.IndexFunc(l.ports[p], func(u portUse) bool { return u.iface == iface })
				if use >= 0 && v.Address.IsValid() {
					d.invalid("relay", fmt.Sprintf("%s %s on %s already belongs to %s", p.protocol, netip.AddrPortFrom(p.address, port),
						iface, l.ports[p][use].owner), "a packet can belong to one cluster only: remove one of them")
					return
				}
			}
		}
	}
	for _, v := range c.VIPs {
		for _, port := range v.Ports {
			p := vipPort{v.Address, v.Protocol, port}
			for _, iface := range r.InterfacesFor(v.Address) {
				l.ports[p] = append(l.ports[p], portUse{iface, fmt.Sprintf("the relay of %s (%s)", d.path, d.location())})
			}
		}
	}
}

// checkRelays reports relay marks that are also the mark of another cluster or its relay.
func (l *loader) checkRelays() {
	for _, r := range l.relays {
		if owner, taken := l.marks[r.mark]; taken {
			r.d.invalid("relay", fmt.Sprintf("fwmark + relay_offset is %d, already the mark of %s", r.mark, owner),
				"give each cluster its own marks")
			continue
		}
		l.marks[r.mark] = fmt.Sprintf("the relay of %s (%s)", r.d.path, r.d.location())
	}
}

// sites reads the balancers of other data centres that are polled for the cluster's weights. big_brother lists them among the nodes, with
// interpol = true. Here they have their own list, so that every entry of nodes is a machine that gets packets and is in `ipvsadm -Ln`. The
// path follows from the cluster's mark.
func sites(d *decoder) []Site {
	var list []Site
	for _, s := range d.tables("sites") {
		at := netip.AddrPortFrom(address(s, destination, "10.2.0.5"), uint16(s.integer("port", defaultSitePort, 1, math.MaxUint16)))
		if at.IsValid() && slices.Contains(list, Site{at}) {
			s.invalid("address", "is already in the list", "remove one of them")
		}
		list = append(list, Site{at})
		s.done()
	}
	return list
}

// locations reads a list of data centres' names.
func locations(d *decoder, key string) []string {
	list := d.strings(key)
	for i, name := range list {
		if name == "" || !isWord(name) {
			d.invalidAt(joinIndex(joinKey(d.path, key), i), name, "is not a data centre's name",
				`use the location of that data centre's balancers, such as "dc2"`)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

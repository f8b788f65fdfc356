package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// location reads the name of a data centre: a word without space, so that it reads as one in a log line and in a list.
func location(d *decoder, key string) string {
	v := d.str(key, defaultLocation)
	if oddLocation(v) {
		d.mistake(key, "is not one word", `write a short name such as "dc1"`)
	}
	return v
}

func oddLocation(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// relayAddress reads where other data centres send their packets to.
func relayAddress(d *decoder) netip.Addr {
	const key = "relay_address"
	s := d.str(key, defaultRelayAddress)
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() {
		d.mistake(key, "is not an address that another machine can send to", "write this balancer's own, or shared, address, such as 10.1.0.5")
		return netip.Addr{}
	}
	return a
}

// dataCentres reads what a cluster has to do with other data centres.
func (l *loader) dataCentres(d *decoder, c *Cluster) {
	c.Sites = sites(d)
	c.NonEgressLocations = locations(d, "non_egress_locations")
	c.MaxDownTicks = int(d.integer("max_down_ticks", defaultMaxDownTicks, 0, streakMost))
	c.Relay = l.relay(d, *c)
}

// relay reads how a cluster takes packets from other data centres.
func (l *loader) relay(d *decoder, c Cluster) Relay {
	const key = "relay_offset"
	offset := d.integer(key, DefaultRelayOffset, 1, math.MaxUint32-1)
	r := Relay{Enabled: d.boolean("relay", defaultRelay), Interfaces: d.strings("relay_interfaces")}
	if len(r.Interfaces) == 0 {
		r.Interfaces = nil // none are none, however they are written
	}
	for i, name := range r.Interfaces {
		if !isInterface(name) {
			d.mistakeAt(joinIndex(joinKey(d.path, "relay_interfaces"), i), name, "cannot be the name of an interface",
				"write it as ip link shows it, such as tunl0")
		}
	}
	if !r.Enabled && len(c.Sites) == 0 || c.Mark == 0 || d.faulty(key) {
		return r
	}
	mark := int64(c.Mark) + offset
	if mark > math.MaxUint32 {
		d.mistake(key, fmt.Sprintf("with fwmark makes %d, beyond the largest mark", mark), "choose a smaller fwmark or relay_offset")
		return r
	}
	r.Mark = uint32(mark)
	if !r.Enabled {
		return r // only to ask others for
	}
	l.relays = append(l.relays, relayUse{d, r.Mark})
	l.claimRelay(d, c, r)
	return r
}

// relayUse is a cluster's claim on the mark of its relay service.
type relayUse struct {
	d    *decoder
	mark uint32
}

// claimRelay claims what the relay's rules must match. A VIP of the same cluster that any interface will do for is no clash: the rule
// with the interface wins.
func (l *loader) claimRelay(d *decoder, c Cluster, r Relay) {
	for _, v := range c.VIPs {
		for _, port := range v.Ports {
			p := vipPort{v.Address, v.Protocol, port}
			for _, iface := range r.InterfacesFor(v.Address) {
				use := slices.IndexFunc(l.ports[p], func(u portUse) bool { return u.iface == iface })
				if use >= 0 && v.Address.IsValid() {
					d.mistake("relay", fmt.Sprintf("%s %s on %s is taken by %s", p.protocol, netip.AddrPortFrom(p.address, port), iface,
						l.ports[p][use].place), "a packet can belong to one cluster only: remove one")
					return
				}
			}
		}
	}
	for _, v := range c.VIPs {
		for _, port := range v.Ports {
			p := vipPort{v.Address, v.Protocol, port}
			for _, iface := range r.InterfacesFor(v.Address) {
				l.ports[p] = append(l.ports[p], portUse{iface, fmt.Sprintf("the relay of %s (%s)", d.path, d.place())})
			}
		}
	}
}

// judgeRelays reports relay marks that another cluster has, as its own or as its relay's.
func (l *loader) judgeRelays() {
	for _, r := range l.relays {
		if place, taken := l.marks[r.mark]; taken {
			r.d.mistake("relay", fmt.Sprintf("fwmark + relay_offset, %d, is the mark of %s, too", r.mark, place), "give each cluster its own marks")
			continue
		}
		l.marks[r.mark] = fmt.Sprintf("the relay of %s (%s)", r.d.path, r.d.place())
	}
}

// sites reads where a cluster's weights in other data centres are asked for. big_brother has them among the nodes, with interpol = true;
// here they are a list of their own, so that every entry of nodes is a machine that gets packets, and nobody looks for these in
// `ipvsadm -Ln`. There is no path to get wrong: it follows from the cluster's mark.
func sites(d *decoder) []Site {
	var list []Site
	for _, s := range d.tables("sites") {
		at := netip.AddrPortFrom(address(s, "10.2.0.5"), uint16(s.integer("port", defaultSitePort, 1, math.MaxUint16)))
		if at.IsValid() && slices.Contains(list, Site{at}) {
			s.mistake("address", "is in the list already", "remove one of them")
		}
		list = append(list, Site{at})
		s.done()
	}
	return list
}

// locations reads a list of data centres.
func locations(d *decoder, key string) []string {
	list := d.strings(key)
	for i, name := range list {
		if name == "" || oddLocation(name) {
			d.mistakeAt(joinIndex(joinKey(d.path, key), i), name, "is no data centre's name", `write what that one's balancers have as location, such as "dc2"`)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

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
	if !r.Enabled || c.Mark == 0 || d.faulty(key) {
		return r
	}
	mark := int64(c.Mark) + offset
	if mark > math.MaxUint32 {
		d.mistake(key, fmt.Sprintf("with fwmark makes %d, beyond the largest mark", mark), "choose a smaller fwmark or relay_offset")
		return r
	}
	r.Mark = uint32(mark)
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

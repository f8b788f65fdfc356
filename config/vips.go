package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// vipPort is what a packet must match to get a cluster's mark, in addition to the interface.
type vipPort struct {
	address  netip.Addr
	protocol string
	port     uint16
}

// portUse is the use of a vipPort by one virtual IP or relay.
type portUse struct {
	iface string // "": any
	owner string // its path and location
}

// vip reads one entry of vips.
func (l *loader) vip(d *decoder) VIP {
	v := VIP{
		Address:   address(d, unicast, "203.0.113.7"),
		Interface: interfaceName(d, "interface", defaultInterface),
		Protocol:  d.str("protocol", defaultProtocol),
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, v.Protocol) {
		d.invalid("protocol", "is not a supported protocol", "use tcp, udp or sctp")
	}
	list, ok := get[[]any](d, "ports", "a list of ports", "write it as ports = [443]")
	if len(list) == 0 && (ok || !d.has("ports")) {
		required(d, "ports", "list the ports: ports = [443]")
	}
	for i, e := range list {
		path := joinIndex(joinKey(d.path, "ports"), i)
		n, ok := e.(int64)
		if !ok || n < 1 || n > math.MaxUint16 {
			d.invalidAt(path, e, "must be 1 to 65535", "use a number without quotes, such as 443")
			continue
		}
		v.Ports = append(v.Ports, uint16(n))
		l.claim(d, path, vipPort{v.Address, v.Protocol, uint16(n)}, v.Interface)
	}
	d.done()
	return v
}

// claim reports a port that already belongs to another virtual IP: a packet can have only one mark.
func (l *loader) claim(d *decoder, path string, p vipPort, iface string) {
	if !p.address.IsValid() {
		return
	}
	for _, use := range l.ports[p] {
		if use.iface == iface || use.iface == "" || iface == "" {
			d.invalidAt(path, int64(p.port), fmt.Sprintf("%s %s already belongs to %s", p.protocol,
				netip.AddrPortFrom(p.address, p.port), use.owner), "a packet can belong to one cluster only: remove one of them")
			return
		}
	}
	l.ports[p] = append(l.ports[p], portUse{iface, fmt.Sprintf("%s (%s)", d.path, d.location())})
}

package config

import (
	"net/netip"
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

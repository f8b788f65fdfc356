package ipvstest

import (
	"net/netip"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
)

func createDestinations(t *testing.T, table ipvs.Table) {
	for _, family := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
		putService(t, table, service(7, family))
	}
	var four, six []ipvs.Destination
	for i, d := range []ipvs.Destination{
		{Forwarding: ipvs.Masq, Weight: 0},
		{Forwarding: ipvs.Tunnel, Weight: 1},
		{Forwarding: ipvs.Route, Weight: 65535},
		{Forwarding: ipvs.Masq, Weight: 92, Port: 8080},
		{Forwarding: ipvs.Tunnel, Weight: 1, Upper: 1000, Lower: 900},
		{Forwarding: ipvs.Route, Weight: 1, Upper: 2147483647},
		{Forwarding: ipvs.Route, Weight: 1, Upper: 5, Lower: 5},
		{Forwarding: ipvs.Tunnel, Weight: 1, Encap: ipvs.Encap{Type: ipvs.GUE, Port: 6080, Flags: 1}},
		{Forwarding: ipvs.Tunnel, Weight: 1, Encap: ipvs.Encap{Type: ipvs.GRE}},
	} {
		d.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})
		four = append(four, d)
		d.Address = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)})
		six = append(six, d)
	}
	putDestination(t, table, key(7, ipvs.IPv4), four...)
	putDestination(t, table, key(7, ipvs.IPv6), six...)
	want(t, table, withDestinations(service(7, ipvs.IPv4), four...), withDestinations(service(7, ipvs.IPv6), six...))
}

func editDestination(t *testing.T, table ipvs.Table) {
	other := destination("10.0.0.2", 5)
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), other)
	for _, d := range []ipvs.Destination{
		{Weight: 10},
		{Weight: 0},
		{Weight: 1, Forwarding: ipvs.Tunnel},
		{Weight: 1, Forwarding: ipvs.Tunnel, Encap: ipvs.Encap{Type: ipvs.GUE, Port: 6080}},
		{Weight: 2, Forwarding: ipvs.Tunnel, Encap: ipvs.Encap{Type: ipvs.GUE, Port: 6080}},
		{Weight: 2, Forwarding: ipvs.Tunnel},
		{Weight: 2, Forwarding: ipvs.Route, Upper: 10, Lower: 4},
		{Weight: 3, Forwarding: ipvs.Route},
		{Weight: 65535, Forwarding: ipvs.Masq},
	} {
		d.Address = netip.MustParseAddr("10.0.0.1")
		putDestination(t, table, key(7, ipvs.IPv4), d)
		want(t, table, withDestinations(service(7, ipvs.IPv4), d, other))
	}
	counted := destination("10.0.0.1", 9)
	counted.ActiveConns, counted.InactiveConns = 5, 6
	putDestination(t, table, key(7, ipvs.IPv4), counted)
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 9), other))
}

func sameAddressOtherPort(t *testing.T, table ipvs.Table) {
	a, b := destination("10.0.0.1", 1), destination("10.0.0.1", 2)
	a.Port, b.Port = 443, 8443
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), b, a, destination("10.0.0.1", 3))
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 3), a, b))
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteDestination(key(7, ipvs.IPv4), a.Address, 443)); err != nil {
		t.Fatal(err)
	}
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 3), b))
}

func mixedFamilies(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4), service(7, ipvs.IPv6))
	four, six := destination("10.0.0.1", 1), destination("fd00::1", 2)
	putDestination(t, table, key(7, ipvs.IPv4), four, six)
	putDestination(t, table, key(7, ipvs.IPv6), four)
	want(t, table, withDestinations(service(7, ipvs.IPv4), four, six), withDestinations(service(7, ipvs.IPv6), four))
	for _, f := range []ipvs.Forwarding{ipvs.Masq, ipvs.Route} {
		d := destination("fd00::2", 1)
		d.Forwarding = f
		wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.PutDestination(key(7, ipvs.IPv4), d)), ipvs.ErrInvalid,
			"put destination fd00::2 in mark 7: ")
	}
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteDestination(key(7, ipvs.IPv4), six.Address, 0)); err != nil {
		t.Fatal(err)
	}
	want(t, table, withDestinations(service(7, ipvs.IPv4), four), withDestinations(service(7, ipvs.IPv6), four))
}

func mappedAddress(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	d := destination("::ffff:10.0.0.1", 4)
	d.Forwarding = ipvs.Masq
	putDestination(t, table, key(7, ipvs.IPv4), d)
	plain := d
	plain.Address = netip.MustParseAddr("10.0.0.1")
	want(t, table, withDestinations(service(7, ipvs.IPv4), plain))
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteDestination(key(7, ipvs.IPv4), d.Address, 0)); err != nil {
		t.Fatal(err)
	}
	want(t, table, service(7, ipvs.IPv4))
}

func deleteDestination(t *testing.T, table ipvs.Table) {
	a, b := destination("10.0.0.1", 1), destination("10.0.0.2", 2)
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), a, b)
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteDestination(key(7, ipvs.IPv4), a.Address, 0)); err != nil {
		t.Fatal(err)
	}
	want(t, table, withDestinations(service(7, ipvs.IPv4), b))
	putDestination(t, table, key(7, ipvs.IPv4), a)
	want(t, table, withDestinations(service(7, ipvs.IPv4), a, b))
}

func invalidDestinations(t *testing.T, table ipvs.Table) {
	old := destination("10.0.0.1", 1)
	oldSix := destination("fd00::1", 1)
	putService(t, table, service(7, ipvs.IPv4), service(7, ipvs.IPv6))
	putDestination(t, table, key(7, ipvs.IPv4), old)
	putDestination(t, table, key(7, ipvs.IPv6), oldSix)
	for name, change := range map[string]func(*ipvs.Destination){
		"no address":                     func(d *ipvs.Destination) { d.Address = netip.Addr{} },
		"local node":                     func(d *ipvs.Destination) { d.Forwarding = 1 },
		"bypass":                         func(d *ipvs.Destination) { d.Forwarding = 4 },
		"lower above upper":              func(d *ipvs.Destination) { d.Upper, d.Lower = 3, 5 },
		"lower without upper":            func(d *ipvs.Destination) { d.Lower = 5 },
		"upper above the kernel's limit": func(d *ipvs.Destination) { d.Upper = 2147483648 },
		"GUE without port":               func(d *ipvs.Destination) { d.Encap.Type = ipvs.GUE },
		"GRE with port":                  func(d *ipvs.Destination) { d.Encap = ipvs.Encap{Type: ipvs.GRE, Port: 1} },
		"unknown encapsulation":          func(d *ipvs.Destination) { d.Encap.Type = 3 },
		"encapsulation without tunnel":   func(d *ipvs.Destination) { d.Forwarding, d.Encap.Type = ipvs.Masq, ipvs.GRE },
	} {
		d := destination("10.0.0.1", 2)
		change(&d)
		err := ipvs.ApplyOne(t.Context(), table, ipvs.PutDestination(key(7, ipvs.IPv4), d))
		t.Logf("%s: %v", name, err)
		wantError(t, err, ipvs.ErrInvalid, "put destination ")
	}
	for _, address := range []string{"0.0.0.0", "224.0.0.1", "255.255.255.255"} {
		wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.PutDestination(key(7, ipvs.IPv4), destination(address, 1))), ipvs.ErrInvalid,
			"put destination "+address+" in mark 7: ")
	}
	for _, address := range []string{"::", "ff02::1", "fe80::1", "fd00::1%eth0"} {
		wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.PutDestination(key(7, ipvs.IPv6), destination(address, 1))), ipvs.ErrInvalid,
			"put destination "+address+" in mark 7 (IPv6): ")
	}
	want(t, table, withDestinations(service(7, ipvs.IPv4), old), withDestinations(service(7, ipvs.IPv6), oldSix))
}

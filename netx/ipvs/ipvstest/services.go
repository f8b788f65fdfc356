package ipvstest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

func createServices(t *testing.T, table ipvs.Table) {
	plain := service(7, ipvs.IPv4)
	sticky := ipvs.Service{Key: key(8, ipvs.IPv4), Scheduler: "wrr", Flags: ipvs.Persistent, Timeout: 300 * time.Second}
	highest := service(4294967295, ipvs.IPv6)
	putService(t, table, plain, sticky, highest)
	want(t, table, plain, sticky, highest)

	// PutService ignores destinations.
	putService(t, table, withDestinations(plain, destination("10.0.0.1", 1)))
	want(t, table, plain, sticky, highest)
}

func editService(t *testing.T, table ipvs.Table) {
	d1, d2 := destination("10.0.0.1", 10), destination("10.0.0.2", 20)
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), d1, d2)
	for _, s := range []ipvs.Service{
		{Scheduler: "wrr"},
		{Scheduler: "sh", Flags: ipvs.SchedFallback | ipvs.SchedPort},
		{Scheduler: "sh", Flags: ipvs.Persistent, Timeout: 31 * 24 * time.Hour},
		{Scheduler: "mh", Flags: ipvs.Persistent, Timeout: time.Second},
		{Scheduler: "wlc"},
		{Scheduler: "wlc"},
	} {
		s.Key = key(7, ipvs.IPv4)
		putService(t, table, s)
		want(t, table, withDestinations(s, d1, d2))
	}
}

func everyScheduler(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), destination("10.0.0.1", 1))
	for _, name := range []string{
		"dh", "fo", "lblc", "lblcr", "lc", "mh", "none", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr",
	} {
		s := service(7, ipvs.IPv4)
		s.Scheduler = name
		putService(t, table, s)
		want(t, table, withDestinations(s, destination("10.0.0.1", 1)))
	}
}

func everyFlag(t *testing.T, table ipvs.Table) {
	for _, flags := range []ipvs.Flags{
		0, ipvs.OnePacket, ipvs.SchedFallback, ipvs.SchedPort, ipvs.OnePacket | ipvs.SchedFallback | ipvs.SchedPort,
	} {
		for _, family := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
			s := service(7, family)
			s.Flags = flags
			putService(t, table, s)
			want(t, table, s)
			s.Flags |= ipvs.Persistent
			s.Timeout = 50 * time.Second
			putService(t, table, s)
			want(t, table, s)
			if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteService(s.Key)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func bothFamilies(t *testing.T, table ipvs.Table) {
	four, six := service(7, ipvs.IPv4), service(7, ipvs.IPv6)
	six.Scheduler = "rr"
	putService(t, table, four, six)
	putDestination(t, table, four.Key, destination("10.0.0.1", 1))
	putDestination(t, table, six.Key, destination("fd00::1", 2))
	want(t, table, withDestinations(four, destination("10.0.0.1", 1)), withDestinations(six, destination("fd00::1", 2)))
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteService(four.Key)); err != nil {
		t.Fatal(err)
	}
	want(t, table, withDestinations(six, destination("fd00::1", 2)))
}

func deleteService(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4), service(8, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), destination("10.0.0.1", 1))
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteService(key(7, ipvs.IPv4))); err != nil {
		t.Fatal(err)
	}
	want(t, table, service(8, ipvs.IPv4))
	putService(t, table, service(7, ipvs.IPv4))
	want(t, table, service(7, ipvs.IPv4), service(8, ipvs.IPv4))
}

func missing(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	d := destination("10.0.0.3", 1)
	six := destination("fd00::3", 1)
	ctx := t.Context()
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteService(key(8, ipvs.IPv4))), ipvs.ErrNoService,
		"delete service mark 8: no such service")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteService(key(7, ipvs.IPv6))), ipvs.ErrNoService,
		"delete service mark 7 (IPv6): no such service")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.PutDestination(key(8, ipvs.IPv4), d)), ipvs.ErrNoService,
		"put destination 10.0.0.3 in mark 8: no such service")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.PutDestination(key(7, ipvs.IPv6), six)), ipvs.ErrNoService,
		"put destination fd00::3 in mark 7 (IPv6): no such service")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteDestination(key(8, ipvs.IPv4), d.Address, 0)), ipvs.ErrNoService,
		"delete destination 10.0.0.3 in mark 8: no such service")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteDestination(key(7, ipvs.IPv4), d.Address, 0)), ipvs.ErrNoDestination,
		"delete destination 10.0.0.3 in mark 7: no such destination")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteDestination(key(7, ipvs.IPv4), six.Address, 0)), ipvs.ErrNoDestination,
		"delete destination fd00::3 in mark 7: no such destination")
	putDestination(t, table, key(7, ipvs.IPv4), d)
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteDestination(key(7, ipvs.IPv4), d.Address, 80)), ipvs.ErrNoDestination,
		"delete destination 10.0.0.3:80 in mark 7: no such destination")
	for _, name := range []string{"", "xyz", "WLC", "a-scheduler-with-a-very-long-name"} {
		s := service(7, ipvs.IPv4)
		s.Scheduler = name
		wantError(t, ipvs.ApplyOne(ctx, table, ipvs.PutService(s)), ipvs.ErrNoScheduler,
			"put service mark 7: the kernel has no such scheduler")
		s.Mark = 9
		wantError(t, ipvs.ApplyOne(ctx, table, ipvs.PutService(s)), ipvs.ErrNoScheduler,
			"put service mark 9: the kernel has no such scheduler")
	}
	want(t, table, withDestinations(service(7, ipvs.IPv4), d))
}

func invalidServices(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	for name, change := range map[string]func(*ipvs.Service){
		"mark 0":                      func(s *ipvs.Service) { s.Mark = 0 },
		"no family":                   func(s *ipvs.Service) { s.Family = 0 },
		"unknown family":              func(s *ipvs.Service) { s.Family = 10 },
		"the kernel's own flag":       func(s *ipvs.Service) { s.Flags = 0x2 },
		"unknown flag":                func(s *ipvs.Service) { s.Flags = 0x40 },
		"timeout without persistence": func(s *ipvs.Service) { s.Timeout = time.Second },
		"persistence without timeout": func(s *ipvs.Service) { s.Flags = ipvs.Persistent },
		"negative timeout":            func(s *ipvs.Service) { s.Flags, s.Timeout = ipvs.Persistent, -time.Second },
		"fractional seconds":          func(s *ipvs.Service) { s.Flags, s.Timeout = ipvs.Persistent, 1500*time.Millisecond },
		"prefix without persistence":  func(s *ipvs.Service) { s.Prefix = 24 },
		"prefix longer than an address": func(s *ipvs.Service) {
			s.Flags, s.Timeout, s.Prefix = ipvs.Persistent, time.Second, 33
		},
		"timeout that overflows the kernel's ticks": func(s *ipvs.Service) { s.Flags, s.Timeout = ipvs.Persistent, 50*24*time.Hour },
	} {
		s := service(7, ipvs.IPv4)
		s.Scheduler = "rr"
		change(&s)
		err := ipvs.ApplyOne(t.Context(), table, ipvs.PutService(s))
		t.Logf("%s: %v", name, err)
		wantError(t, err, ipvs.ErrInvalid, "put service mark ")
	}
	wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.DeleteService(key(0, ipvs.IPv4))), ipvs.ErrInvalid, "delete service mark 0: ")
	wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.DeleteDestination(key(0, ipvs.IPv4), netip.MustParseAddr("10.0.0.1"), 0)),
		ipvs.ErrInvalid, "delete destination 10.0.0.1 in mark 0: ")
	want(t, table, service(7, ipvs.IPv4))
}

func prefixes(t *testing.T, table ipvs.Table) {
	four := ipvs.Service{Key: key(7, ipvs.IPv4), Scheduler: "wlc", Flags: ipvs.Persistent, Timeout: time.Minute}
	six := four
	six.Family = ipvs.IPv6
	for _, c := range []struct{ put, read uint8 }{{24, 24}, {1, 1}, {31, 31}, {32, 0}, {0, 0}} {
		four.Prefix = c.put
		putService(t, table, four)
		four.Prefix = c.read
		want(t, table, four)
	}
	for _, c := range []struct{ put, read uint8 }{{64, 64}, {1, 1}, {127, 127}, {128, 0}, {0, 0}} {
		six.Prefix = c.put
		putService(t, table, six)
		six.Prefix = c.read
		want(t, table, four, six)
	}
}

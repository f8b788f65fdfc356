// Package ipvstest is the conformance suite of ipvs.Table, which every implementation passes.
package ipvstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/braintree/lb/netx/ipvs"
)

// Run runs the suite. newTable returns an empty table for exclusive use and closes it when t ends.
func Run(t *testing.T, newTable func(t *testing.T) ipvs.Table) {
	for _, c := range []struct {
		name string
		test func(*testing.T, ipvs.Table)
	}{
		{"an empty table dumps nothing", dumpEmpty},
		{"a service is created with the given settings", createServices},
		{"an edited service keeps its destinations", editService},
		{"every scheduler of the kernel is accepted", everyScheduler},
		{"every flag is kept", everyFlag},
		{"one mark serves both families", bothFamilies},
		{"deleting a service deletes its destinations", deleteService},
		{"destinations keep weight, thresholds and forwarding", createDestinations},
		{"a destination is edited in place", editDestination},
		{"a destination is identified by address and port", sameAddressOtherPort},
		{"an IPv4 service has IPv6 destinations only by tunnel", mixedFamilies},
		{"an IPv4-mapped address is IPv4", mappedAddress},
		{"deleting a destination keeps the others", deleteDestination},
		{"dumps are sorted", sortedDump},
		{"a dump is independent of the table", independentDump},
		{"errors name what is missing", missing},
		{"invalid services are rejected and change nothing", invalidServices},
		{"invalid destinations are rejected and change nothing", invalidDestinations},
		{"the persistence prefix is kept", prefixes},
		{"an empty batch has no errors", emptyBatch},
		{"changes are made in order, whatever is assumed", batchInOrder},
		{"MustExist edits and never adds", mustExistChanges},
		{"an error in a batch belongs to its change", batchWithErrors},
		{"destinations fail with their service", batchWithoutService},
		{"thousands of changes, good and bad", largeBatch},
		{"each rejected change has an error", rejectedBatch},
		{"sync daemons start, are read back, and stop", syncDaemons},
		{"invalid sync daemons are rejected", invalidSyncDaemons},
		{"sync daemons and mixed families exclude each other", syncWithMixedFamilies},
		{"timeouts are set and read back, and 0 keeps one", timeouts},
		{"a cancelled context changes nothing", cancelled},
		{"concurrent use is safe", concurrent},
		{"a closed table rejects every call", closed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newTable(t)) })
	}
}

func key(mark ipvs.Mark, family ipvs.Family) ipvs.Key { return ipvs.Key{Mark: mark, Family: family} }

func service(mark ipvs.Mark, family ipvs.Family) ipvs.Service {
	return ipvs.Service{Key: key(mark, family), Scheduler: "wlc"}
}

func destination(address string, weight ipvs.Weight) ipvs.Destination {
	return ipvs.Destination{Address: netip.MustParseAddr(address), Forwarding: ipvs.Tunnel, Weight: weight}
}

// want compares the whole table with the given services.
func want(t *testing.T, table ipvs.Table, services ...ipvs.Service) {
	t.Helper()
	got, err := table.Dump(t.Context())
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	if diff := cmp.Diff(services, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the table differs (- wanted, + found):\n%s", diff)
	}
}

// withDestinations returns the service with these destinations.
func withDestinations(s ipvs.Service, ds ...ipvs.Destination) ipvs.Service {
	s.Destinations = ds
	return s
}

func putService(t *testing.T, table ipvs.Table, services ...ipvs.Service) {
	t.Helper()
	for _, s := range services {
		if err := ipvs.ApplyOne(t.Context(), table, ipvs.PutService(s)); err != nil {
			t.Fatal(err)
		}
	}
}

func putDestination(t *testing.T, table ipvs.Table, k ipvs.Key, ds ...ipvs.Destination) {
	t.Helper()
	for _, d := range ds {
		if err := ipvs.ApplyOne(t.Context(), table, ipvs.PutDestination(k, d)); err != nil {
			t.Fatal(err)
		}
	}
}

// wantError checks the cause of an error and its prefix, which names operation and object.
func wantError(t *testing.T, got, want error, words string) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, wanted %v", got, want)
	}
	if len(got.Error()) < len(words) || got.Error()[:len(words)] != words {
		t.Fatalf("error reads %q, wanted it to begin with %q", got, words)
	}
}

func dumpEmpty(t *testing.T, table ipvs.Table) {
	want(t, table)
}

func sortedDump(t *testing.T, table ipvs.Table) {
	putService(t, table, service(20, ipvs.IPv6), service(4294967295, ipvs.IPv4), service(3, ipvs.IPv4), service(20, ipvs.IPv4))
	putDestination(t, table, key(20, ipvs.IPv4), destination("10.0.0.10", 1), destination("10.0.0.9", 1), destination("9.0.0.9", 1))
	putDestination(t, table, key(20, ipvs.IPv6), destination("fd00::10", 1), destination("fd00::9", 1))
	want(t, table,
		service(3, ipvs.IPv4),
		withDestinations(service(20, ipvs.IPv4), destination("9.0.0.9", 1), destination("10.0.0.9", 1), destination("10.0.0.10", 1)),
		withDestinations(service(20, ipvs.IPv6), destination("fd00::9", 1), destination("fd00::10", 1)),
		service(4294967295, ipvs.IPv4))
}

func independentDump(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), destination("10.0.0.1", 1))
	dump, err := table.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dump[0].Scheduler = "rr"
	dump[0].Destinations[0].Weight = 50
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 1)))
}

func cancelled(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), destination("10.0.0.1", 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := table.Dump(ctx)
	wantError(t, err, context.Canceled, "dump the load-balancing table: ")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.PutService(service(8, ipvs.IPv4))), context.Canceled, "put service mark 8: ")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteService(key(7, ipvs.IPv4))), context.Canceled, "delete service mark 7: ")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.2", 1))), context.Canceled,
		"put destination 10.0.0.2 in mark 7: ")
	wantError(t, ipvs.ApplyOne(ctx, table, ipvs.DeleteDestination(key(7, ipvs.IPv4), netip.MustParseAddr("10.0.0.1"), 0)), context.Canceled,
		"delete destination 10.0.0.1 in mark 7: ")
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 1)))
}

func concurrent(t *testing.T, table ipvs.Table) {
	const workers, rounds = 8, 15
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make(chan error, workers)
	for w := range workers {
		k := key(ipvs.Mark(100+w), ipvs.IPv4)
		go func() { errs <- work(ctx, table, k, rounds) }()
	}
	var wanted []ipvs.Service
	for w := range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
		wanted = append(wanted, withDestinations(service(ipvs.Mark(100+w), ipvs.IPv4), destination("10.0.0.1", rounds)))
	}
	want(t, table, wanted...)
}

// work puts a service's only destination with each weight in turn and reads it back.
func work(ctx context.Context, table ipvs.Table, k ipvs.Key, rounds int) error {
	if err := ipvs.ApplyOne(ctx, table, ipvs.PutService(service(k.Mark, k.Family))); err != nil {
		return err
	}
	for i := range rounds {
		d := destination("10.0.0.1", ipvs.Weight(i+1))
		if err := ipvs.ApplyOne(ctx, table, ipvs.PutDestination(k, d)); err != nil {
			return err
		}
		dump, err := table.Dump(ctx)
		if err != nil {
			return err
		}
		for _, s := range dump {
			if s.Key == k && (len(s.Destinations) != 1 || s.Destinations[0] != d) {
				return errors.New(k.String() + " reads back different from what was put")
			}
		}
	}
	return nil
}

func closed(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if err := table.Close(); err != nil {
		t.Fatalf("close again: %v", err)
	}
	_, err := table.Dump(t.Context())
	wantError(t, err, net.ErrClosed, "dump the load-balancing table: ")
	wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.PutService(service(7, ipvs.IPv4))), net.ErrClosed, "put service mark 7: ")
}

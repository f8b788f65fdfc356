package ipvstest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
)

// assumeNew returns the changes with AssumeNew set to isNew.
func assumeNew(changes []ipvs.Change, isNew bool) []ipvs.Change {
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].AssumeNew = isNew
	}
	return changes
}

func apply(t *testing.T, table ipvs.Table, changes ...ipvs.Change) {
	t.Helper()
	for i, err := range table.Apply(t.Context(), changes) {
		if err != nil {
			t.Fatalf("change %d of %d: %v", i, len(changes), err)
		}
	}
}

func emptyBatch(t *testing.T, table ipvs.Table) {
	if errs := table.Apply(t.Context(), nil); len(errs) != 0 {
		t.Errorf("errors without a change: %v", errs)
	}
	want(t, table)
}

// batchInOrder checks that each change sees the effect of the earlier ones, whatever is assumed.
func batchInOrder(t *testing.T, table ipvs.Table) {
	a, b := destination("10.0.0.1", 1), destination("10.0.0.2", 2)
	heavier, wrr := destination("10.0.0.1", 9), service(7, ipvs.IPv4)
	wrr.Scheduler = "wrr"
	for _, isNew := range []bool{false, true} {
		apply(t, table, assumeNew([]ipvs.Change{
			ipvs.PutService(service(7, ipvs.IPv4)),
			ipvs.PutDestination(key(7, ipvs.IPv4), a),
			ipvs.PutDestination(key(7, ipvs.IPv4), b),
			ipvs.PutDestination(key(7, ipvs.IPv4), heavier),
			ipvs.DeleteDestination(key(7, ipvs.IPv4), b.Address, 0),
			ipvs.PutService(service(8, ipvs.IPv6)),
			ipvs.PutDestination(key(8, ipvs.IPv6), destination("fd00::1", 3)),
			ipvs.DeleteService(key(8, ipvs.IPv6)),
			ipvs.PutService(service(8, ipvs.IPv6)),
			ipvs.PutService(wrr),
		}, isNew)...)
		want(t, table, withDestinations(wrr, heavier), service(8, ipvs.IPv6))
	}
}

// mustExistChanges puts with MustExist what exists, what does not, and what an earlier change of the batch added.
func mustExistChanges(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), destination("10.0.0.1", 1))
	for _, isNew := range []bool{false, true} {
		changes := assumeNew([]ipvs.Change{
			ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.1", 9)),
			ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.2", 2)),
			ipvs.PutDestination(key(8, ipvs.IPv4), destination("10.0.0.1", 3)),
			ipvs.PutService(service(8, ipvs.IPv4)),
			ipvs.PutService(service(7, ipvs.IPv4)),
		}, isNew)
		for i := range changes {
			changes[i].MustExist = true
		}
		errs := table.Apply(t.Context(), changes)
		if errs[0] != nil || errs[4] != nil {
			t.Errorf("edits of existing objects: %v, %v", errs[0], errs[4])
		}
		wantError(t, errs[1], ipvs.ErrNoDestination, "put destination 10.0.0.2 in mark 7: ")
		wantError(t, errs[2], ipvs.ErrNoService, "put destination 10.0.0.1 in mark 8: ")
		wantError(t, errs[3], ipvs.ErrNoService, "put service mark 8: ")
		want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 9)))
	}
	edit := ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.2", 5))
	edit.MustExist = true
	apply(t, table, ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.2", 2)), edit)
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 9), destination("10.0.0.2", 5)))
}

// batchWithErrors has errors at the start, middle and end: each belongs to its own change, and the others are made.
func batchWithErrors(t *testing.T, table ipvs.Table) {
	putService(t, table, service(7, ipvs.IPv4))
	bad := destination("10.0.0.9", 1)
	bad.Lower = 5
	for _, isNew := range []bool{true, false} {
		errs := table.Apply(t.Context(), assumeNew([]ipvs.Change{
			ipvs.DeleteService(key(9, ipvs.IPv4)),
			ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.1", 1)),
			ipvs.DeleteDestination(key(7, ipvs.IPv4), netip.MustParseAddr("10.0.0.5"), 0),
			ipvs.PutDestination(key(7, ipvs.IPv4), destination("224.0.0.1", 1)),
			ipvs.PutDestination(key(7, ipvs.IPv4), bad),
			ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.2", 2)),
			ipvs.PutDestination(key(6, ipvs.IPv4), destination("10.0.0.3", 3)),
		}, isNew))
		for i, wanted := range []struct {
			err   error
			words string
		}{
			{ipvs.ErrNoService, "delete service mark 9: "},
			{nil, ""},
			{ipvs.ErrNoDestination, "delete destination 10.0.0.5 in mark 7: "},
			{ipvs.ErrInvalid, "put destination 224.0.0.1 in mark 7: "},
			{ipvs.ErrInvalid, "put destination 10.0.0.9 in mark 7: "},
			{nil, ""},
			{ipvs.ErrNoService, "put destination 10.0.0.3 in mark 6: "},
		} {
			switch {
			case wanted.err != nil:
				wantError(t, errs[i], wanted.err, wanted.words)
			case errs[i] != nil:
				t.Errorf("change %d: %v", i, errs[i])
			}
		}
		want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 1), destination("10.0.0.2", 2)))
	}
}

// batchWithoutService has a service that cannot be put: its destinations fail with it, those of others do not.
func batchWithoutService(t *testing.T, table ipvs.Table) {
	unknown := service(8, ipvs.IPv4)
	unknown.Scheduler = "xyz"
	for _, isNew := range []bool{true, false} {
		errs := table.Apply(t.Context(), assumeNew([]ipvs.Change{
			ipvs.PutService(service(7, ipvs.IPv4)),
			ipvs.PutService(unknown),
			ipvs.PutDestination(key(8, ipvs.IPv4), destination("10.0.0.1", 1)),
			ipvs.PutDestination(key(8, ipvs.IPv4), destination("10.0.0.2", 2)),
			ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.1", 1)),
		}, isNew))
		wantError(t, errs[1], ipvs.ErrNoScheduler, "put service mark 8: ")
		wantError(t, errs[2], ipvs.ErrNoService, "put destination 10.0.0.1 in mark 8: ")
		wantError(t, errs[3], ipvs.ErrNoService, "put destination 10.0.0.2 in mark 8: ")
		if errs[0] != nil || errs[4] != nil {
			t.Errorf("the others: %v, %v", errs[0], errs[4])
		}
		want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 1)))
	}
}

// largeBatch has more changes than the receive buffer holds responses: all failing, wrongly assumed, correctly assumed.
func largeBatch(t *testing.T, table ipvs.Table) {
	const many = 2000
	var puts, wrong []ipvs.Change
	var wanted []ipvs.Destination
	for n := range many {
		d := destination(fmt.Sprintf("10.0.%d.%d", n/250, n%250+1), ipvs.Weight(n))
		puts = append(puts, ipvs.PutDestination(key(7, ipvs.IPv4), d))
		wrong = append(wrong, ipvs.DeleteDestination(key(7, ipvs.IPv4), d.Address, 80))
		wanted = append(wanted, d)
	}
	for i, err := range table.Apply(t.Context(), puts) {
		wantError(t, err, ipvs.ErrNoService, fmt.Sprintf("put destination %s in mark 7: ", wanted[i].Address))
	}
	putService(t, table, service(7, ipvs.IPv4))
	for _, isNew := range []bool{false, false, true} {
		apply(t, table, assumeNew(puts, isNew)...)
		want(t, table, withDestinations(service(7, ipvs.IPv4), wanted...))
	}
	for i, err := range table.Apply(t.Context(), wrong) {
		wantError(t, err, ipvs.ErrNoDestination, fmt.Sprintf("delete destination %s:80 in mark 7: ", wanted[i].Address))
	}
	want(t, table, withDestinations(service(7, ipvs.IPv4), wanted...))
}

func rejectedBatch(t *testing.T, table ipvs.Table) {
	changes := []ipvs.Change{ipvs.PutService(service(7, ipvs.IPv4)), ipvs.PutDestination(key(7, ipvs.IPv4), destination("10.0.0.1", 1))}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := table.Apply(ctx, changes)
	wantError(t, errs[0], context.Canceled, "put service mark 7: ")
	wantError(t, errs[1], context.Canceled, "put destination 10.0.0.1 in mark 7: ")
	want(t, table)
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	errs = table.Apply(t.Context(), changes)
	wantError(t, errs[0], net.ErrClosed, "put service mark 7: ")
	wantError(t, errs[1], net.ErrClosed, "put destination 10.0.0.1 in mark 7: ")
}

package ipvstest

import (
	"slices"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
)

// wantDaemons compares all running daemons.
func wantDaemons(t *testing.T, table ipvs.Table, daemons ...ipvs.Daemon) {
	t.Helper()
	got, err := table.Daemons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, daemons) {
		t.Fatalf("daemons are %v, wanted %v", got, daemons)
	}
}

func startDaemon(t *testing.T, table ipvs.Table, d ipvs.Daemon) {
	t.Helper()
	if err := table.StartDaemon(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func stopDaemon(t *testing.T, table ipvs.Table, r ipvs.Role) {
	t.Helper()
	if err := table.StopDaemon(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func syncDaemons(t *testing.T, table ipvs.Table) {
	master := ipvs.Daemon{Role: ipvs.Master, Interface: "lo", ID: 255}
	backup := ipvs.Daemon{Role: ipvs.Backup, Interface: "lo", ID: 7}
	wantDaemons(t, table)
	startDaemon(t, table, backup)
	wantDaemons(t, table, backup)
	startDaemon(t, table, master)
	wantDaemons(t, table, master, backup)
	wantError(t, table.StartDaemon(t.Context(), master), ipvs.ErrRunning, "start the master sync daemon on lo, id 255: ")
	stopDaemon(t, table, ipvs.Master)
	wantDaemons(t, table, backup)
	master.ID = 0
	startDaemon(t, table, master)
	wantDaemons(t, table, master, backup)
	stopDaemon(t, table, ipvs.Master)
	stopDaemon(t, table, ipvs.Backup)
	wantDaemons(t, table)
}

func invalidSyncDaemons(t *testing.T, table ipvs.Table) {
	wantError(t, table.StopDaemon(t.Context(), ipvs.Backup), ipvs.ErrNoDaemon, "stop the backup sync daemon: ")
	wantError(t, table.StopDaemon(t.Context(), 3), ipvs.ErrInvalid, "stop the role 3 sync daemon: ")
	for _, d := range []ipvs.Daemon{
		{Interface: "lo"},
		{Role: 3, Interface: "lo"},
		{Role: ipvs.Master},
		{Role: ipvs.Master, Interface: "a-very-long-name"},
	} {
		wantError(t, table.StartDaemon(t.Context(), d), ipvs.ErrInvalid, "start the ")
	}
	wantDaemons(t, table)
}

func syncWithMixedFamilies(t *testing.T, table ipvs.Table) {
	d := ipvs.Daemon{Role: ipvs.Master, Interface: "lo", ID: 7}
	putService(t, table, service(7, ipvs.IPv4))
	putDestination(t, table, key(7, ipvs.IPv4), destination("fd00::1", 1))
	wantError(t, table.StartDaemon(t.Context(), d), ipvs.ErrInvalid, "start the master sync daemon on lo, id 7: ")
	if err := ipvs.ApplyOne(t.Context(), table, ipvs.DeleteService(key(7, ipvs.IPv4))); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, table, d)
	putService(t, table, service(7, ipvs.IPv4))
	wantError(t, ipvs.ApplyOne(t.Context(), table, ipvs.PutDestination(key(7, ipvs.IPv4), destination("fd00::1", 1))), ipvs.ErrInvalid,
		"put destination fd00::1 in mark 7: ")
	putDestination(t, table, key(7, ipvs.IPv4), destination("10.0.0.1", 1))
	want(t, table, withDestinations(service(7, ipvs.IPv4), destination("10.0.0.1", 1)))
	stopDaemon(t, table, ipvs.Master)
}

package ipvs_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/ipvs/ipvstest"
)

func TestMemoryConformance(t *testing.T) {
	ipvstest.Run(t, func(t *testing.T) ipvs.Table {
		m := ipvs.NewMemory()
		t.Cleanup(func() { m.Close() })
		return m
	})
}

func TestSeedAndSetConnsAppearInDumpAndSurviveEdits(t *testing.T) {
	m := ipvs.NewMemory()
	k := ipvs.Key{Mark: 7, Family: ipvs.IPv4}
	a := netip.MustParseAddr("10.0.0.1")
	b := netip.MustParseAddr("10.0.0.2")
	m.Seed(ipvs.Service{Key: k, Scheduler: "wlc", Destinations: []ipvs.Destination{{Address: b}, {Address: a, Weight: 5, ActiveConns: 1}}})
	if err := m.SetConns(k, a, 0, 3, 4); err != nil {
		t.Fatal(err)
	}
	if err := ipvs.ApplyOne(t.Context(), m, ipvs.PutDestination(k, ipvs.Destination{Address: a, Weight: 6})); err != nil {
		t.Fatal(err)
	}
	dump, err := m.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := ipvs.Destination{Address: a, Weight: 6, ActiveConns: 3, InactiveConns: 4}
	if got := dump[0].Destinations[0]; got != want {
		t.Errorf("found %+v, wanted %+v", got, want)
	}
	if err := m.SetConns(k, a, 1, 1, 1); !errors.Is(err, ipvs.ErrNoDestination) {
		t.Errorf("connections of a missing destination: %v", err)
	}
}

func TestFailCallFailsOneCallAndChangesNothing(t *testing.T) {
	m := ipvs.NewMemory()
	broken := errors.New("broken")
	s := ipvs.Service{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc"}
	m.FailCall(2, broken)
	if err := ipvs.ApplyOne(t.Context(), m, ipvs.PutService(s)); err != nil {
		t.Fatal(err)
	}
	err := ipvs.ApplyOne(t.Context(), m, ipvs.DeleteService(s.Key))
	if !errors.Is(err, broken) || err.Error() != "delete service mark 7: broken" {
		t.Fatalf("second call: %v", err)
	}
	dump, err := m.Dump(t.Context())
	if err != nil || len(dump) != 1 {
		t.Fatalf("third call: %v, %v", dump, err)
	}
	calls := m.Calls()
	if len(calls) != 3 || calls[1].Operation != "delete service" || calls[1].Key != s.Key || calls[2].Operation != "dump" {
		t.Errorf("calls are %+v", calls)
	}
}

package ipvstest

import (
	"testing"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

// timeouts changes some, leaves the others, and tries what the kernel would misunderstand.
func timeouts(t *testing.T, table ipvs.Table) {
	want := ipvs.DefaultTimeouts()
	wantTimeouts := func() {
		t.Helper()
		got, err := table.Timeouts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("timeouts are %+v, wanted %+v", got, want)
		}
	}
	wantTimeouts()
	for _, set := range []ipvs.Timeouts{
		{UDP: 31 * time.Second},
		{},
		{TCP: 576 * time.Hour, TCPFin: time.Second},
		{TCP: 15 * time.Minute, TCPFin: 3 * time.Minute, UDP: time.Hour},
	} {
		if err := table.SetTimeouts(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		want = want.With(set)
		wantTimeouts()
	}
	for _, invalid := range []ipvs.Timeouts{{TCP: -time.Second}, {TCPFin: 1500 * time.Millisecond}, {UDP: 25 * 24 * time.Hour}} {
		wantError(t, table.SetTimeouts(t.Context(), invalid), ipvs.ErrInvalid, "set timeouts of connections: ")
	}
	wantTimeouts()
}

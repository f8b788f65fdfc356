package kernel

import (
	"fmt"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

func TestTimeoutsAreSetAndTellDriftFromTheirOwnChanges(t *testing.T) {
	memory := ipvs.NewMemory()
	timeouts := New(memory, mark.NewMemory()).Timeouts
	foreign := func(o ipvs.Timeouts) {
		if err := memory.SetTimeouts(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	reconcile := func(o config.Timeouts) string {
		text := ""
		for _, c := range timeouts.Reconcile(t.Context(), o) {
			text += fmt.Sprintf("%s, drift %t; ", c.Text, c.Drift)
		}
		return text
	}
	for _, step := range []struct {
		what string
		do   func()
		set  config.Timeouts
		want string
	}{
		{"nothing wanted", func() {}, config.Timeouts{}, ""},
		{"the first ones", func() {}, config.Timeouts{TCP: time.Hour, UDP: 5 * time.Minute},
			"timeout of open TCP connections 15m0s → 1h0m0s, drift false; "},
		{"nothing to do", func() {}, config.Timeouts{TCP: time.Hour, UDP: 5 * time.Minute}, ""},
		{"another program, one that lb sets and one that it does not",
			func() { foreign(ipvs.Timeouts{TCPFin: time.Minute, UDP: time.Second}) },
			config.Timeouts{TCP: time.Hour, UDP: 5 * time.Minute}, "timeout of UDP 1s → 5m0s, drift true; "},
		{"a new configuration", func() {}, config.Timeouts{TCP: 2 * time.Hour},
			"timeout of open TCP connections 1h0m0s → 2h0m0s, drift false; "},
		{"left alone again", func() { foreign(ipvs.Timeouts{TCP: time.Minute}) }, config.Timeouts{}, ""},
	} {
		step.do()
		if got := reconcile(step.set); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	calls := len(memory.Calls())
	reconcile(config.Timeouts{})
	if len(memory.Calls()) != calls {
		t.Error("it asks the kernel although nothing is wanted")
	}
	memory.SetFault(func(ipvs.Call) error { return errBusy })
	if got := reconcile(config.Timeouts{TCP: time.Hour}); got != "" || timeouts.Err() == "" || timeouts.errors != 1 {
		t.Errorf("after an error: %q, %q", got, timeouts.Err())
	}
	memory.SetFault(nil)
	if got := reconcile(config.Timeouts{TCP: time.Hour}); got == "" || timeouts.Err() != "" {
		t.Errorf("after the error: %q, %q", got, timeouts.Err())
	}
}

package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

var errBusy = errors.New("device or resource busy")

func web(weight ipvs.Weight) []ipvs.Service {
	return []ipvs.Service{{
		Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc",
		Destinations: []ipvs.Destination{{Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: weight}},
	}}
}

func rule(m ipvs.Mark) mark.Rule {
	return mark.Rule{Address: netip.MustParseAddr("192.0.2.1"), Protocol: "tcp", Port: 80, Mark: m}
}

// owned are the marks of these tests.
func owned() map[ipvs.Mark]bool { return map[ipvs.Mark]bool{7: true} }

// TestEditLeavesEarlierServicesAlone: readers keep what Services returned.
func TestEditLeavesEarlierServicesAlone(t *testing.T) {
	memory := ipvs.NewMemory()
	memory.Seed(web(50)...)
	table := New(memory, mark.NewMemory()).Table
	if !table.Read(t.Context()) {
		t.Fatal(table.Err())
	}
	table.Remember(t.Context(), false)
	before := table.Services()
	edits := plan.Diff(web(40), before, owned())
	if r := table.Edit(t.Context(), edits, owned()); len(r.Done) != 1 || len(r.Drift) != 0 {
		t.Errorf("the edit did %v, drift %v", r.Done, r.Drift)
	}
	if w := before[0].Destinations[0].Weight; w != 50 {
		t.Errorf("the services of before have weight %d now", w)
	}
	if w := table.Services()[0].Destinations[0].Weight; w != 40 {
		t.Errorf("the table has weight %d, want 40", w)
	}
	if p := table.Diff(web(40), owned()); len(p) != 0 {
		t.Errorf("still to do: %v", p)
	}
}

func TestTableRemembersWhatWasRejected(t *testing.T) {
	memory := ipvs.NewMemory()
	table := New(memory, mark.NewMemory()).Table
	memory.SetFault(func(c ipvs.Call) error {
		if c.Operation == "put service" {
			return errBusy
		}
		return nil
	})
	table.Read(t.Context())
	r := table.Apply(t.Context(), table.Diff(web(50), owned()), owned())
	if len(r.Done) != 0 || table.Rejected([]ipvs.Mark{7}) == "" || table.RejectedExcept([]ipvs.Mark{7}) != "" || table.errors != 1 {
		t.Errorf("done %v, rejected %q, %d errors", r.Done, table.Rejected([]ipvs.Mark{7}), table.errors)
	}
	memory.SetFault(nil)
	if r := table.Apply(t.Context(), table.Diff(web(50), owned()), owned()); len(r.Done) != 2 || table.Rejected([]ipvs.Mark{7}) != "" {
		t.Errorf("done %v, rejected %q", r.Done, table.Rejected([]ipvs.Mark{7}))
	}
}

func TestMarksTellDriftFromTheirOwnChanges(t *testing.T) {
	memory := mark.NewMemory()
	marks := New(ipvs.NewMemory(), memory).Marks
	now := time.Now()
	if got := marks.Reconcile(t.Context(), now, []mark.Rule{rule(7)}); len(got) != 1 || got[0].Drift || !marks.Right() {
		t.Errorf("the first rules: %+v", got)
	}
	if got := marks.Reconcile(t.Context(), now, []mark.Rule{rule(8)}); len(got) != 1 || got[0].Drift {
		t.Errorf("other rules: %+v", got)
	}
	if err := memory.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := marks.Reconcile(t.Context(), now, []mark.Rule{rule(8)}); len(got) != 1 || !got[0].Drift {
		t.Errorf("after another program removed them: %+v", got)
	}
	memory.SetFault(func(string) error { return errBusy })
	if got := marks.Reconcile(t.Context(), now, []mark.Rule{rule(8)}); got != nil || marks.Err() == "" || !marks.Due(now, time.Hour) {
		t.Errorf("after an error: %+v, %q", got, marks.Err())
	}
}

func TestCompareListsWhatACopyHasChanged(t *testing.T) {
	memory, rules := ipvs.NewMemory(), mark.NewMemory()
	memory.Seed(web(50)...)
	k := New(memory, rules)
	before, err := k.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Copy(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	c.Table.Apply(t.Context(), c.Table.Diff(web(40), owned()), owned())
	c.Marks.Reconcile(t.Context(), time.Now(), []mark.Rule{rule(7)})
	c.Sync.Reconcile(t.Context(), config.Sync{Interface: "eth1", ID: 7})
	c.Timeouts.Reconcile(t.Context(), config.Timeouts{UDP: time.Minute})
	after, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := Compare(before, after)
	if len(d.Services) != 1 || len(d.Others) != 4 || d.Others[1].Text != "start the master sync daemon on eth1, id 7" ||
		d.Others[3].Text != "timeout of UDP 5m0s → 1m0s" {
		t.Errorf("difference %+v", d)
	}
	if again, err := k.Read(t.Context()); err != nil || !slices.EqualFunc(again.Services, before.Services, func(a, b ipvs.Service) bool {
		return slices.Equal(a.Destinations, b.Destinations)
	}) || len(again.Rules) != 0 || len(again.Daemons) != 0 || again.Timeouts != before.Timeouts {
		t.Errorf("the copy has changed its original to %+v, %v", again, err)
	}
}

func TestFiguresReadOnlyWhatIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := ipvs.NewMemory()
		memory.Seed(web(50)...)
		f := NewFigures(memory)
		known := web(30)
		if got := f.Read(t.Context(), known, time.Now()); got[0].Destinations[0].Weight != 30 || len(memory.Calls()) != 0 {
			t.Errorf("fresh: weight %d, %d calls", got[0].Destinations[0].Weight, len(memory.Calls()))
		}
		at := time.Now()
		time.Sleep(2 * fresh)
		if got := f.Read(t.Context(), known, at); got[0].Destinations[0].Weight != 50 || len(memory.Calls()) != 1 {
			t.Errorf("old: weight %d, %d calls", got[0].Destinations[0].Weight, len(memory.Calls()))
		}
		time.Sleep(2 * fresh)
		memory.SetFault(func(ipvs.Call) error { return errBusy })
		if got := f.Read(t.Context(), known, at); got[0].Destinations[0].Weight != 50 {
			t.Errorf("unreadable: weight %d, want the newest that is known", got[0].Destinations[0].Weight)
		}
		<-f.turn // another reader waits for the kernel
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := f.Read(ctx, known, at); got[0].Destinations[0].Weight != 30 {
			t.Errorf("busy: weight %d, want what the engine knows", got[0].Destinations[0].Weight)
		}
	})
}

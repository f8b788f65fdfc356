package kernel

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// TestLossesStandWhilePacketsDoNotArrive feeds the counters of a mark, interval by interval.
func TestLossesStandWhilePacketsDoNotArrive(t *testing.T) {
	type count struct{ marked, arrived uint64 }
	for _, tt := range []struct {
		name   string
		counts []count
		lost   bool
	}{
		{"no traffic", []count{{0, 0}, {0, 0}, {0, 0}}, false},
		{"all arrive", []count{{0, 0}, {10, 10}, {20, 20}, {30, 30}}, false},
		{"all are lost", []count{{0, 0}, {10, 0}, {20, 0}}, true},
		{"all are lost, at first beside what was under way", []count{{100, 98}, {110, 100}, {120, 100}}, true},
		{"one interval may be chance", []count{{0, 0}, {100, 0}}, false},
		{"so may a few packets", []count{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}}, false},
		{"a few more are not", []count{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}}, true},
		{"a firewall keeps some out", []count{{0, 0}, {100, 60}, {200, 120}, {300, 180}}, false},
		{"it keeps most out", []count{{0, 0}, {100, 20}, {200, 40}}, true},
		{"one good interval ends a run", []count{{0, 0}, {10, 0}, {20, 10}, {30, 10}}, false},
		{"right again", []count{{0, 0}, {10, 0}, {20, 0}, {30, 10}}, false},
		{"idle intervals between do not end it", []count{{0, 0}, {10, 0}, {10, 0}, {10, 0}, {20, 0}}, true},
		{"it stands while nobody asks", []count{{0, 0}, {10, 0}, {20, 0}, {20, 0}, {20, 0}}, true},
		{"the table is made anew", []count{{100, 100}, {10, 0}, {20, 0}}, false},
		{"more arrive than were marked", []count{{0, 0}, {10, 20}, {20, 40}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // reading the counters takes no time
				rules, now := mark.NewMemory(), time.Now()
				e := New(ipvs.NewMemory(), rules).Effect
				var losses []Loss
				for _, c := range tt.counts {
					rules.SetCounts(mark.Count{Mark: 7, Protocol: "tcp", Port: 443, Marked: c.marked, Arrived: c.arrived},
						mark.Count{Mark: 8, Protocol: "tcp", Port: 443, Marked: c.marked, Arrived: c.marked})
					var fresh bool
					if losses, fresh = e.Look(t.Context(), now, time.Second); !fresh {
						t.Fatal("an interval has passed, and Look did nothing")
					}
					now = now.Add(time.Second)
				}
				if lost := len(losses) > 0; lost != tt.lost || len(losses) > 1 || lost && losses[0].Mark != 7 {
					t.Errorf("losses %+v", losses)
				}
			})
		})
	}
}

func TestALossEndsWhenNothingIsKnownForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules, now := mark.NewMemory(), time.Now()
		e := New(ipvs.NewMemory(), rules).Effect
		look := func(marked uint64) []Loss {
			rules.SetCounts(mark.Count{Mark: 7, Protocol: "udp", Port: 53, Marked: marked})
			now = now.Add(time.Second)
			losses, _ := e.Look(t.Context(), now, time.Second)
			return losses
		}
		look(0)
		look(10)
		if want := []Loss{{Mark: 7, Protocol: "udp", Port: 53, Marked: 20}}; !slices.Equal(look(20), want) {
			t.Fatal("no loss")
		}
		for i := range idleIntervals {
			if len(look(20)) == 0 {
				t.Fatalf("the loss ended after %d idle intervals", i)
			}
		}
		if losses := look(20); len(losses) != 0 {
			t.Errorf("after %d idle intervals: %+v", idleIntervals, losses)
		}
	})
}

func TestCountersAreReadOncePerInterval(t *testing.T) {
	rules, now, reads := mark.NewMemory(), time.Now(), 0
	rules.SetFault(func(string) error { reads++; return nil })
	e := New(ipvs.NewMemory(), rules).Effect
	for range 100 { // a second
		e.Look(t.Context(), now, time.Second)
		now = now.Add(10 * time.Millisecond)
	}
	if reads != 2 {
		t.Errorf("%d reads in a second, want one at each end", reads)
	}
	rules.SetFault(func(string) error { return errBusy })
	if _, fresh := e.Look(t.Context(), now.Add(time.Minute), time.Second); fresh || e.Err() == "" {
		t.Errorf("after an error: fresh %t, %q", fresh, e.Err())
	}
}

package watch

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/braintree/lb/config"
)

func TestHeartbeatsOfAFleetCostAFiftiethOfACoreAtMost(t *testing.T) {
	for streams, want := range map[int]time.Duration{
		0: fastestHeartbeat, 1: fastestHeartbeat, 100: fastestHeartbeat, 200: fastestHeartbeat,
		201: 201 * time.Millisecond, 500: 500 * time.Millisecond, 5000: 5 * time.Second,
	} {
		got := budgetedHeartbeat(streams)
		if got != want {
			t.Errorf("%d streams: every %s, want %s", streams, got, want)
		}
		if cost := time.Duration(streams) * heartbeatCost * time.Duration(time.Second/got); cost > time.Second/coresPerBudget {
			t.Errorf("%d streams cost %s a second", streams, cost)
		}
	}
}

func TestPaceAndLease(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		interval, timeout time.Duration
		fall, streams     int
		slowdown          int
		want              pace
		lease, reach      time.Duration
	}{
		"defaults":            {2000 * ms, 1000 * ms, 2, 10, 0, pace{200 * ms, 1800 * ms, 4000 * ms}, 600 * ms, 300 * ms},
		"500 nodes":           {2000 * ms, 1000 * ms, 2, 500, 0, pace{500 * ms, 1800 * ms, 4000 * ms}, 1500 * ms, 750 * ms},
		"1500 nodes":          {2000 * ms, 1000 * ms, 2, 1500, 0, pace{1500 * ms, 1800 * ms, 4000 * ms}, 4000 * ms, 1000 * ms},
		"5000 nodes":          {2000 * ms, 1000 * ms, 2, 5000, 0, pace{1800 * ms, 1800 * ms, 4000 * ms}, 4000 * ms, 1000 * ms},
		"a patient cluster":   {10000 * ms, 5000 * ms, 2, 10, 0, pace{1000 * ms, 9000 * ms, 20000 * ms}, 3000 * ms, 1500 * ms},
		"a higher fall":       {2000 * ms, 1000 * ms, 5, 10, 0, pace{200 * ms, 1800 * ms, 4000 * ms}, 600 * ms, 300 * ms},
		"fall 1":              {1000 * ms, 500 * ms, 1, 10, 0, pace{200 * ms, 450 * ms, 1000 * ms}, 600 * ms, 300 * ms},
		"a short interval":    {200 * ms, 100 * ms, 2, 10, 0, pace{180 * ms, 180 * ms, 400 * ms}, 400 * ms, 100 * ms},
		"a short timeout":     {2000 * ms, 50 * ms, 2, 10, 0, pace{200 * ms, 1800 * ms, 4000 * ms}, 600 * ms, 50 * ms},
		"a node that is late": {2000 * ms, 1000 * ms, 2, 10, 2, pace{800 * ms, 1800 * ms, 4000 * ms}, 2400 * ms, 1000 * ms},
		"always late":         {2000 * ms, 1000 * ms, 2, 10, 4, pace{1800 * ms, 1800 * ms, 4000 * ms}, 4000 * ms, 1000 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			target := target{interval: tt.interval, timeout: tt.timeout, fall: tt.fall}
			got := target.pace(budgetedHeartbeat(tt.streams), tt.slowdown)
			lease := got.lease(got.asked)
			if reach := target.reachTimeout(lease); got != tt.want || lease != tt.lease || reach != tt.reach {
				t.Errorf("got %v, a lease of %s, connected within %s; want %v, %s, %s", got, lease, reach, tt.want, tt.lease, tt.reach)
			}
			if slow := got.lease(got.slowest); slow > got.limit {
				t.Errorf("the lease of slow heartbeats is %s, longer than polls would take", slow)
			}
			if hasty := got.lease(time.Nanosecond); hasty != lease {
				t.Errorf("an agent that promises more heartbeats than asked for gets a lease of %s", hasty)
			}
		})
	}
}

// The machine dies right after a heartbeat, or later.
func TestANodeThatIsGoneIsNoticedWithinASecond(t *testing.T) {
	for after := time.Duration(0); after < 200*time.Millisecond; after += 40 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			watched(t, &fakeAgent{mode: "up", health: 92}, auto(1, 2), func(s *fixture) {
				s.awaitStream()
				s.sleep(time.Minute + after)
				died := time.Now()
				s.set(func(a *fakeAgent) { a.mode, a.mute = "gone", true })
				s.sleep(time.Second)
				missed := s.readings()
				if len(missed) != 2 || missed[0].Answered || missed[1].Answered {
					t.Fatalf("after a second: %+v", missed)
				}
				if took := missed[1].At.Sub(died); took < 400*time.Millisecond {
					t.Errorf("noticed after %s, too soon to be told from a pause", took)
				}
				if missed[0].Detail != "no heartbeat for 600ms" || missed[1].Detail != "timeout after 300ms" {
					t.Errorf("%q and %q", missed[0].Detail, missed[1].Detail)
				}
			})
		})
	}
}

// fall above 2 asks for as many further polls, at the interval.
func TestAHigherFallWaitsForFurtherPolls(t *testing.T) {
	for fall := 1; fall <= 5; fall++ {
		t.Run(fmt.Sprint(fall), func(t *testing.T) {
			watched(t, &fakeAgent{mode: "up", health: 92}, auto(1, fall), func(s *fixture) {
				s.awaitStream()
				died := time.Now()
				s.set(func(a *fakeAgent) { a.mode, a.mute = "gone", true })
				s.sleep(20 * time.Second)
				missed := s.readings()
				if len(missed) < fall {
					t.Fatalf("missed %d polls", len(missed))
				}
				most := time.Second + time.Duration(max(fall-2, 0))*3*time.Second
				if took := missed[fall-1].At.Sub(died); took > most || took < time.Duration(max(fall-2, 0))*2*time.Second {
					t.Errorf("out after %s, want at most %s", took, most)
				}
			})
		})
	}
}

// A pause of the agent's process, such as a debugger's, a frozen container or a starved processor, is not the death of its machine: the
// kernel still accepts connections.
func TestAPauseOfTheAgentIsNoSilence(t *testing.T) {
	for _, how := range []config.WatchMode{config.WatchAuto, config.WatchPoll} {
		for _, pause := range []time.Duration{300 * time.Millisecond, time.Second, 2 * time.Second, 2500 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, %s", how, pause), func(t *testing.T) {
				c := auto(1, 2)
				c.Watch = how
				watched(t, &fakeAgent{mode: "up", health: 92}, c, func(s *fixture) {
					s.sleep(20 * time.Second)
					s.readings()
					s.set(func(a *fakeAgent) { a.mode, a.mute = "hangs", true })
					s.sleep(pause)
					s.set(func(a *fakeAgent) { a.mode, a.mute = "up", false })
					s.sleep(20 * time.Second)
					misses := 0
					for _, r := range s.readings() {
						if r.Answered {
							misses = 0
							continue
						}
						if misses++; misses == 2 {
							t.Errorf("%s missed a second time in a row: the node is out", r.At)
						}
					}
				})
			})
		}
	}
}

// A node that is late again and again gets slower heartbeats, and after a while fast ones again.
func TestALateNodeGetsSlowerHeartbeats(t *testing.T) {
	const ms = time.Millisecond
	watched(t, &fakeAgent{mode: "up", health: 92}, auto(1, 2), func(s *fixture) {
		s.awaitStream()
		for range 6 {
			s.set(func(a *fakeAgent) { a.mute = true })
			s.sleep(6 * time.Second)
			s.set(func(a *fakeAgent) { a.mute = false })
			s.sleep(20 * time.Second)
			if !s.watcher.Streaming() {
				t.Fatal("no stream")
			}
		}
		for _, r := range s.readings() {
			if !r.Answered {
				t.Errorf("got %+v from a node that answers", r)
			}
		}
		s.sleep(slowdownTime)
		s.cut()
		s.sleep(10 * time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		var got []time.Duration // without repetitions
		for _, asked := range s.asked {
			if len(got) == 0 || got[len(got)-1] != asked {
				got = append(got, asked)
			}
		}
		if want := []time.Duration{200 * ms, 400 * ms, 800 * ms, 1600 * ms, 1800 * ms, 200 * ms}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("asked for %v, want %v", got, want)
		}
	})
}

// An agent with many streams grants slower heartbeats than asked for.
func TestTheLeaseFollowsWhatTheAgentGrants(t *testing.T) {
	watched(t, &fakeAgent{mode: "up", health: 92, slowest: true}, auto(1, 2), func(s *fixture) {
		s.awaitStream()
		s.sleep(time.Hour)
		if got := s.readings(); len(got) != 0 || !s.watcher.Streaming() {
			t.Errorf("got %v in an hour with slow heartbeats", got)
		}
		s.set(func(a *fakeAgent) { a.mode, a.mute = "gone", true })
		s.sleep(5 * time.Second)
		if got := s.readings(); len(got) < 2 {
			t.Errorf("after 5s: %+v", got)
		}
	})
}

// By polls alone, a node that is gone is asked again at once.
func TestAPollThatReachesNobodyIsRepeatedAtOnce(t *testing.T) {
	c := auto(1, 2)
	c.Watch = config.WatchPoll
	watched(t, &fakeAgent{mode: "up", health: 92, closes: true}, c, func(s *fixture) {
		s.sleep(20 * time.Second)
		s.readings()
		s.set(func(a *fakeAgent) { a.mode = "gone" })
		died := time.Now()
		s.sleep(10 * time.Second)
		missed := s.readings()
		if len(missed) < 3 {
			t.Fatalf("%d readings in 10 s: %+v", len(missed), missed)
		}
		if took := missed[1].At.Sub(missed[0].At); took != 300*time.Millisecond {
			t.Errorf("the second poll failed %s after the first", took)
		}
		if took := missed[1].At.Sub(died); took > 3300*time.Millisecond {
			t.Errorf("out after %s", took)
		}
		if gap := missed[2].At.Sub(missed[1].At); gap < 1500*time.Millisecond {
			t.Errorf("the third poll came %s after the second: only the first retry is early", gap)
		}
	})
	for _, mode := range []string{"", "hangs"} { // the machine is there
		watched(t, &fakeAgent{mode: "up", health: 92, closes: true}, c, func(s *fixture) {
			s.sleep(20 * time.Second)
			s.readings()
			s.set(func(a *fakeAgent) { a.mode = mode })
			s.sleep(10 * time.Second)
			if missed := s.readings(); len(missed) < 2 || missed[1].At.Sub(missed[0].At) != 2*time.Second {
				t.Errorf("mode %q: %+v, want a poll every 2s", mode, missed)
			}
		})
	}
}

// Time in which this process did not run does not count as silence, unless it goes on.
func TestOwnPausesDoNotCountAsSilence(t *testing.T) {
	const timeout = 600 * time.Millisecond
	for name, tt := range map[string]struct{ idle, late, want time.Duration }{
		"in time":                         {580 * time.Millisecond, time.Millisecond, 580 * time.Millisecond},
		"stopped for a minute":            {time.Minute, time.Minute - 300*time.Millisecond, 300 * time.Millisecond},
		"stopped, but the kernel was not": {100 * time.Millisecond, time.Minute, 0},
		"late again and again":            {2 * time.Second, 200 * time.Millisecond, 1800 * time.Millisecond},
	} {
		if got := countedSilence(tt.idle, tt.late, timeout); got != tt.want {
			t.Errorf("%s: %s of %s count, want %s", name, got, tt.idle, tt.want)
		}
	}
	for took, late := range map[time.Duration]bool{
		time.Second: false, 1090 * time.Millisecond: false, 1200 * time.Millisecond: true, time.Minute: true,
	} {
		if isLate(took, time.Second) != late {
			t.Errorf("a poll of 1s that took %s: late is %v", took, !late)
		}
	}
}

// Checks are aligned by the wall clock. Whatever it says after a jump, a check comes in time.
func TestAClockJumpDoesNotMoveChecks(t *testing.T) {
	for _, timeout := range []time.Duration{400 * time.Millisecond, 600 * time.Millisecond, 4 * time.Second} {
		p := &parking{timeout: timeout}
		for wall := range 1000 {
			now := time.Unix(1_700_000_000, 0).Add(time.Duration(wall) * (timeout/977 + 1))
			next := p.nextCheck(now, now).Sub(now)
			if next <= 0 || next < timeout/2 || next > timeout {
				t.Fatalf("lease %s, wall clock %s: the next check is %s later", timeout, now, next)
			}
			silent := p.nextCheck(now, now.Add(-timeout/2)).Sub(now)
			if silent <= 0 || silent > timeout/2 {
				t.Fatalf("lease %s, wall clock %s: silent for half of it, the next check is %s later", timeout, now, silent)
			}
		}
	}
}

func TestStreamsAreOpenedAnewWhenTheFleetGrowsOrShrinks(t *testing.T) {
	monitor := NewHeartbeatMonitor()
	r := &run{Watcher: New(config.Cluster{CheckInterval: 2 * time.Second, Fall: 2}, config.Node{Address: netip.MustParseAddr("10.0.0.1")},
		time.Now(), monitor)}
	now := time.Now()
	for _, tt := range []struct {
		before, after int
		want          bool
	}{{10, 200, false}, {10, 390, false}, {10, 400, true}, {10, 5000, true}, {5000, 10, true}, {5000, 10000, false}, {400, 10, true}} {
		monitor.Expect(tt.before)
		outdated := r.outdated(r.pace(monitor.fleetHeartbeat(), 0))
		monitor.Expect(tt.after)
		if got := outdated(now); got != tt.want {
			t.Errorf("from %d to %d streams: %v", tt.before, tt.after, got)
		}
	}
	r.slowdown, r.slowUntil = 1, now.Add(time.Minute)
	outdated := r.outdated(r.pace(monitor.fleetHeartbeat(), 1))
	if outdated(now) || !outdated(now.Add(2*time.Minute)) {
		t.Error("a slower stream is to be opened anew after its time, not before")
	}
}

//go:build lab

package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

const (
	// kills is how often the balancer is killed at a random moment, and steadyRate how many new connections a second come meanwhile.
	kills      = 50
	steadyRate = 50
	// slowGuest is what processes to start and packets to emulate take in the guest, beyond what lb promises.
	slowGuest = 2 * time.Second
)

// steady is a stage under load whose balancer, agents and kernel are disturbed.
type steady struct {
	*testing.T
	stage   *testbed.Site
	table   ipvs.Table
	traffic *testbed.Traffic
	lasting map[string]*stream // established connections, by the name of their node
	want    map[string]int     // weights by address
}

// TestNothingIsLostUnderSteadyLoad has 50 new connections a second and some that last, and does to the system what a year does.
// No request fails but those whose own node died, or that came while somebody had emptied the kernel's table by hand; those are counted.
func TestNothingIsLostUnderSteadyLoad(t *testing.T) {
	s := &steady{T: t, stage: stage(t, nil), want: map[string]int{}}
	for _, app := range s.stage.Apps {
		s.want[app.Address.String()] = 100
	}
	settled(t, s.stage, 100)
	s.table = kernelTable(t, s.stage)
	s.lasting = openStreams(t, s.stage)
	s.traffic = s.stage.StartTraffic(t.Context(), steadyRate)
	settle(t, s.traffic)
	for _, c := range []struct {
		name string
		do   func(*steady)
	}{
		{"reloads", (*steady).reloads},
		{"restarts", (*steady).restarts},
		{"kill -9 at random moments", (*steady).killsAtRandom},
		{"agents flap", (*steady).agentsFlap},
		{"the kernel's table is emptied by hand", (*steady).emptied},
		{"a node dies and returns", (*steady).nodeDies},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			part := *s
			part.T = t
			before, begun := s.traffic.Counts(), time.Now()
			c.do(&part)
			seen := s.traffic.Counts().Since(before)
			t.Logf("%s: %d answered, %d failed in %s", c.name, seen.Answered, seen.Failed, time.Since(begun).Round(time.Second))
		}) {
			break
		}
		if len(s.lasting) == 0 {
			s.lasting = openStreams(t, s.stage)
		}
	}
	counts := s.traffic.Stop()
	t.Logf("in all: %d answered, %d failed, the slowest took %s", counts.Answered, counts.Failed, counts.Slowest)
}

// right waits until the kernel has the wanted weights, which must be so within two cycles of since, and an allowance.
func (s *steady) right(since time.Time, allowance time.Duration) {
	s.Helper()
	want := fmt.Sprint(s.want)
	labtest.Eventually(s, patience, want, func() (bool, string) {
		got := fmt.Sprint(dump(s.T, s.table))
		return got == want, got
	})
	if took := time.Since(since); took > 2*interval+allowance+slowGuest {
		s.Errorf("the table is right after %s, want within two cycles of %s, %s and %s for the slow guest", took, interval, allowance, slowGuest)
	}
}

// unharmed fails the test for each request that failed and was not sent between from and to, which may both be zero.
func (s *steady) unharmed(before testbed.Counts, from, to time.Time) {
	s.Helper()
	settle(s.T, s.traffic) // those on their way have ended, too
	for node, stream := range s.lasting {
		if got := stream.ask(s.T); got != node {
			s.Errorf("the connection to %s, established before all this, is answered by %q", node, got)
		}
	}
	harmed := 0
	for _, f := range s.traffic.Counts().Since(before).Failures {
		if f.Sent.Before(from) || f.Sent.After(to) {
			s.Errorf("a request that was sent at %s failed: %v", f.Sent.Format(time.StampMilli), f.Err)
			continue
		}
		harmed++
	}
	if !from.IsZero() {
		s.Logf("%d requests of the %s in between failed", harmed, to.Sub(from).Round(time.Millisecond))
	}
}

func (s *steady) try(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *steady) reloads() {
	before := s.traffic.Counts()
	for range 5 {
		s.try(s.stage.Balancer.Reload())
		settle(s.T, s.traffic)
		s.right(time.Now(), 0)
	}
	s.unharmed(before, time.Time{}, time.Time{})
}

func (s *steady) restarts() {
	before := s.traffic.Counts()
	for range 3 {
		s.try(s.stage.Balancer.Stop())
		settle(s.T, s.traffic)
		s.try(s.stage.Balancer.Start(s.Context()))
		s.right(time.Now(), 0)
	}
	s.unharmed(before, time.Time{}, time.Time{})
}

// killsAtRandom changes a node's health each time, so that the balancer has something to write, and kills it at any moment from
// then until that is surely done.
func (s *steady) killsAtRandom() {
	before := s.traffic.Counts()
	seed := uint64(time.Now().UnixNano())
	s.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		app := s.stage.Apps[random.IntN(len(s.stage.Apps))]
		health := 1 + random.IntN(100)
		s.try(app.SetHealth(health))
		s.want[app.Address.String()] = health
		changed := time.Now()
		select {
		case <-time.After(time.Duration(random.Int64N(int64(testbed.AgentInterval + interval)))):
		case <-s.Context().Done():
			return
		}
		s.try(s.stage.Balancer.Kill())
		s.try(s.stage.Balancer.Start(s.Context()))
		s.right(later(time.Now(), changed.Add(testbed.AgentInterval)), 0)
	}
	s.unharmed(before, time.Time{}, time.Time{})
	for _, app := range s.stage.Apps { // so that new connections reach all of them again
		s.try(app.SetHealth(100))
		s.want[app.Address.String()] = 100
	}
	s.right(time.Now(), testbed.AgentInterval)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// agentsFlap ends each agent and starts it again: the application goes on, so no request may suffer.
func (s *steady) agentsFlap() {
	before := s.traffic.Counts()
	for _, app := range s.stage.Apps {
		s.try(app.Agent.Kill())
		s.try(app.Agent.Start(s.Context()))
		s.right(time.Now(), testbed.AgentInterval) // the first results have to come
	}
	s.unharmed(before, time.Time{}, time.Time{})
}

// emptied has an operator do the worst that ipvsadm can: the kernel lets go of established connections with their service.
func (s *steady) emptied() {
	before := s.traffic.Counts()
	emptied := time.Now()
	labtest.Run(s, s.stage.BalancerHost, "ipvsadm", "-C")
	s.right(time.Now(), 0)
	repaired := time.Now()
	clear(s.lasting)
	s.unharmed(before, emptied.Add(-slowGuest), repaired)
}

// nodeDies pulls a node's cables, as a power loss does, and puts them back.
func (s *steady) nodeDies() {
	before := s.traffic.Counts()
	app := s.stage.Apps[2]
	address := app.Address.String()
	health := s.want[address]
	died := time.Now()
	s.try(app.Host.Unplug())
	delete(s.lasting, app.Host.Name())
	s.want[address] = 0
	s.right(time.Now(), interval) // fall = 2: the second poll and its time-out
	out := time.Now()
	settle(s.T, s.traffic)
	s.try(app.Host.Plug())
	s.want[address] = health
	s.right(time.Now(), interval) // a poll that began before has to time out
	s.unharmed(before, died.Add(-slowGuest), out)
}

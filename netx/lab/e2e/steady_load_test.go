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
	kills       = 50 // how often the balancer is killed at a random moment
	requestRate = 50 // new connections per second
	// guestDelay is what the slow guest takes, beyond what lb promises, to start processes and emulate packets.
	guestDelay = 2 * time.Second
)

// steadyLoad is a site under load whose balancer, agents and kernel are disturbed.
type steadyLoad struct {
	*testing.T
	site    *testbed.Site
	table   ipvs.Table
	traffic *testbed.Traffic
	streams map[string]*stream // established connections, by node name
	want    map[string]int     // expected weights, by address
}

// TestNoRequestIsLostUnderSteadyLoad opens 50 new connections per second and keeps some open while it does to the system what a year of
// operation would. The only requests that may fail are those to a node that died, and those sent while the kernel's table was flushed by
// hand; these are counted.
func TestNoRequestIsLostUnderSteadyLoad(t *testing.T) {
	s := &steadyLoad{T: t, site: newSite(t, nil), want: map[string]int{}}
	for _, app := range s.site.Apps {
		s.want[app.Address.String()] = 100
	}
	waitForWeight(t, s.site, 100)
	s.table = openTable(t, s.site)
	s.streams = openStreams(t, s.site)
	s.traffic = s.site.StartTraffic(t.Context(), requestRate)
	waitForRequests(t, s.traffic)
	for _, c := range []struct {
		name string
		do   func(*steadyLoad)
	}{
		{"reloads", (*steadyLoad).reloads},
		{"restarts", (*steadyLoad).restarts},
		{"kill -9 at random moments", (*steadyLoad).randomKills},
		{"agents flap", (*steadyLoad).agentsFlap},
		{"the kernel's table is flushed by hand", (*steadyLoad).tableFlushed},
		{"a node dies and returns", (*steadyLoad).nodeDies},
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
		if len(s.streams) == 0 {
			s.streams = openStreams(t, s.site)
		}
	}
	counts := s.traffic.Stop()
	t.Logf("total: %d answered, %d failed, slowest %s", counts.Answered, counts.Failed, counts.Slowest)
}

// waitForTable waits until the kernel has the expected weights. This may take two check intervals from since, plus an allowance.
func (s *steadyLoad) waitForTable(since time.Time, allowance time.Duration) {
	s.Helper()
	want := fmt.Sprint(s.want)
	labtest.Eventually(s, timeout, want, func() (bool, string) {
		got := fmt.Sprint(dumpWeights(s.T, s.table))
		return got == want, got
	})
	if took := time.Since(since); took > 2*checkInterval+allowance+guestDelay {
		s.Errorf("the table is right after %s, want within two check intervals of %s plus %s, plus %s for the slow guest",
			took, checkInterval, allowance, guestDelay)
	}
}

// checkFailures fails the test for each failed request since before that was not sent between from and to, both zero if none may fail.
func (s *steadyLoad) checkFailures(before testbed.Counts, from, to time.Time) {
	s.Helper()
	waitForRequests(s.T, s.traffic) // requests in flight have ended
	for node, stream := range s.streams {
		if got := stream.ping(s.T); got != node {
			s.Errorf("%q responds on the established connection to %s", got, node)
		}
	}
	harmed := 0
	for _, f := range s.traffic.Counts().Since(before).Failures {
		if f.Sent.Before(from) || f.Sent.After(to) {
			s.Errorf("a request sent at %s failed: %v", f.Sent.Format(time.StampMilli), f.Err)
			continue
		}
		harmed++
	}
	if !from.IsZero() {
		s.Logf("%d requests failed in the %s in between", harmed, to.Sub(from).Round(time.Millisecond))
	}
}

func (s *steadyLoad) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *steadyLoad) reloads() {
	before := s.traffic.Counts()
	for range 5 {
		s.must(s.site.Balancer.Reload())
		waitForRequests(s.T, s.traffic)
		s.waitForTable(time.Now(), 0)
	}
	s.checkFailures(before, time.Time{}, time.Time{})
}

func (s *steadyLoad) restarts() {
	before := s.traffic.Counts()
	for range 3 {
		s.must(s.site.Balancer.Stop())
		waitForRequests(s.T, s.traffic)
		s.must(s.site.Balancer.Start(s.Context()))
		s.waitForTable(time.Now(), 0)
	}
	s.checkFailures(before, time.Time{}, time.Time{})
}

// randomKills changes a node's health, so that the balancer has something to write, and kills it at a random moment until that must have
// happened.
func (s *steadyLoad) randomKills() {
	before := s.traffic.Counts()
	seed := uint64(time.Now().UnixNano())
	s.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		app := s.site.Apps[random.IntN(len(s.site.Apps))]
		health := 1 + random.IntN(100)
		s.must(app.SetHealth(health))
		s.want[app.Address.String()] = health
		changed := time.Now()
		select {
		case <-time.After(time.Duration(random.Int64N(int64(testbed.AgentInterval + checkInterval)))):
		case <-s.Context().Done():
			return
		}
		s.must(s.site.Balancer.Kill())
		s.must(s.site.Balancer.Start(s.Context()))
		s.waitForTable(later(time.Now(), changed.Add(testbed.AgentInterval)), 0)
	}
	s.checkFailures(before, time.Time{}, time.Time{})
	for _, app := range s.site.Apps { // so that new connections reach all nodes again
		s.must(app.SetHealth(100))
		s.want[app.Address.String()] = 100
	}
	s.waitForTable(time.Now(), testbed.AgentInterval)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// agentsFlap kills each agent and starts it again. The applications keep running, so no request may fail.
func (s *steadyLoad) agentsFlap() {
	before := s.traffic.Counts()
	for _, app := range s.site.Apps {
		s.must(app.Agent.Kill())
		s.must(app.Agent.Start(s.Context()))
		s.waitForTable(time.Now(), testbed.AgentInterval) // until the first check results
	}
	s.checkFailures(before, time.Time{}, time.Time{})
}

// tableFlushed does the worst that ipvsadm can. With a service the kernel also forgets its established connections.
func (s *steadyLoad) tableFlushed() {
	before := s.traffic.Counts()
	emptied := time.Now()
	labtest.Run(s, s.site.BalancerHost, "ipvsadm", "-C")
	s.waitForTable(time.Now(), 0)
	repaired := time.Now()
	clear(s.streams)
	s.checkFailures(before, emptied.Add(-guestDelay), repaired)
}

// nodeDies unplugs a node, like a power failure, and plugs it in again.
func (s *steadyLoad) nodeDies() {
	before := s.traffic.Counts()
	app := s.site.Apps[2]
	address := app.Address.String()
	health := s.want[address]
	died := time.Now()
	s.must(app.Host.Unplug())
	delete(s.streams, app.Host.Name())
	s.want[address] = 0
	s.waitForTable(time.Now(), checkInterval) // fall = 2: a second poll and its timeout
	out := time.Now()
	waitForRequests(s.T, s.traffic)
	s.must(app.Host.Plug())
	s.want[address] = health
	s.waitForTable(time.Now(), checkInterval) // an earlier poll must time out first
	s.checkFailures(before, died.Add(-guestDelay), out)
}

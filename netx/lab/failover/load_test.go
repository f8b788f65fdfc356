//go:build lab

package failover

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/cluster"
	"github.com/braintree/lb/netx/lab/testbed"
)

// The load: requests per second to each address, with a browser's timeout, and long-lived connections to webapp. Under more load,
// Pacemaker's shell scripts exceed their timeouts in the guest.
const (
	requestRate    = 2
	requestTimeout = time.Minute
	streamCount    = 5
)

// load is the client's traffic during a scenario.
type load struct {
	suite        *suite
	begun        time.Time
	webapp       addressLoad
	baseline     addressLoad
	streams      *cluster.Streams
	weights      sync.WaitGroup
	cancel       context.CancelFunc
	isolated     atomic.Pointer[cluster.Balancer] // a balancer cut off from the agents, whose weights may be wrong
	wrongWeights map[string]bool                  // unexpected weights seen in a kernel, as "BALANCER WEIGHTS"
}

// addressLoad is the traffic to one address.
type addressLoad struct {
	probes  *cluster.Probes
	traffic *testbed.Traffic
}

// result is the outcome for one address.
type result struct {
	outage   time.Duration // longest time without a response
	over     time.Time     // end of the outage
	answered int
	lost     []testbed.Failure // timed out, refused, or without status 201
	slowest  time.Duration
}

// startLoad starts the load and waits until all of it works.
func (s *suite) startLoad(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l := &load{suite: s, begun: time.Now(), cancel: cancel, wrongWeights: map[string]bool{}}
	l.webapp, l.baseline = s.startAddressLoad(ctx, cluster.Webapp), s.startAddressLoad(ctx, cluster.Baseline)
	var err error
	if l.streams, err = s.cluster.OpenStreams(ctx, cluster.Webapp, streamCount); err != nil {
		t.Fatal(err)
	}
	l.weights.Go(func() { l.watchWeights(ctx) })
	l.waitForFlow(t, l.begun)
	for _, b := range s.cluster.Balancers { // the kernels synchronize after some seconds
		eventually(t, slowPoll, b.Name+" knows every long-lived connection", func() (bool, string) {
			n, err := l.streams.UnknownTo(ctx, b)
			return err == nil && n == 0, fmt.Sprintf("%d unknown, %v", n, err)
		})
	}
	return l
}

func (s *suite) startAddressLoad(ctx context.Context, to netip.AddrPort) addressLoad {
	requester := testbed.NewRequester(s.cluster.Client, to, requestTimeout)
	return addressLoad{s.cluster.StartProbes(ctx, to), requester.StartTraffic(ctx, requestRate)}
}

// watchWeights checks the weights in all kernels until ctx ends.
func (l *load) watchWeights(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, b := range l.suite.cluster.Balancers {
			if w := b.Weights(ctx); w != "" && w != l.suite.cluster.ExpectedWeights() && b != l.isolated.Load() {
				l.wrongWeights[b.Name+" "+w] = true
			}
		}
	}
}

// waitForFlow waits until both addresses have answered several probes sent after from, and every long-lived connection has had a response.
func (l *load) waitForFlow(t *testing.T, from time.Time) {
	t.Helper()
	const several = 10
	eventually(t, fastPoll, "requests are answered and connections work", func() (bool, string) {
		webapp, baseline := l.webapp.probes.AnsweredSince(from), l.baseline.probes.AnsweredSince(from)
		unanswered := l.streams.UnansweredSince(from)
		return webapp >= several && baseline >= several && unanswered <= 0,
			fmt.Sprintf("%d responses from webapp and %d from the baseline, %d connections without a response",
				webapp, baseline, unanswered)
	})
}

// stop stops the load and returns the results.
func (l *load) stop(t *testing.T) (webapp, baseline result, broken []error) {
	t.Helper()
	webapp, baseline = l.webapp.stop(), l.baseline.stop()
	broken = l.streams.Close()
	l.cancel()
	l.weights.Wait()
	for w := range l.wrongWeights {
		t.Errorf("wrong weights: %s; want %s", w, l.suite.cluster.ExpectedWeights())
	}
	for node := range l.webapp.traffic.Counts().ByNode {
		if !strings.HasPrefix(node, "app") {
			t.Errorf("%s, which is not an app node, answered for webapp", node)
		}
	}
	return webapp, baseline, broken
}

func (s addressLoad) stop() result {
	counts := s.traffic.Stop()
	r := result{answered: counts.Answered, lost: counts.Failures, slowest: counts.Slowest}
	r.outage, r.over = s.probes.Stop()
	return r
}

// recordResults adds the results of a scenario to the table.
func (s *suite) recordResults(scenario string, webapp, baseline result, broken []error) {
	s.record(scenario, "longest time without a response to a new connection", webapp.outage, baseline.outage)
	s.record(scenario, "slowest response, with TCP retransmissions", webapp.slowest, baseline.slowest)
	s.record(scenario, "requests", webapp.answered+len(webapp.lost), baseline.answered+len(baseline.lost))
	s.record(scenario, "requests lost", len(webapp.lost), len(baseline.lost))
	s.record(scenario, fmt.Sprintf("broken of %d long-lived connections", streamCount), len(broken), nil)
}

// compareOutages fails the test if webapp's outage exceeds the baseline's by more than 20 % and a probe interval at each end.
func compareOutages(t *testing.T, webapp, baseline time.Duration) {
	t.Helper()
	t.Logf("outage: webapp %.1f s, baseline %.1f s, ratio %.2f",
		webapp.Seconds(), baseline.Seconds(), webapp.Seconds()/baseline.Seconds())
	if webapp > baseline*12/10+2*cluster.ProbeInterval {
		t.Errorf("webapp was out for %s, the baseline for %s: more than 1.2 times as long", webapp, baseline)
	}
}

// checkNothingLost fails the test for each lost request and broken connection.
func checkNothingLost(t *testing.T, webapp result, broken []error) {
	t.Helper()
	for _, f := range webapp.lost {
		t.Errorf("a request sent at %s was lost: %v", f.Sent.UTC().Format(time.TimeOnly), f.Err)
	}
	for _, err := range broken {
		t.Errorf("a connection broke: %v", err)
	}
}

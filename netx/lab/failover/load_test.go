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

// The load: requests a second to each address, which wait as long as a browser would, and connections to webapp that last. More of it takes from
// Pacemaker's shell scripts in the guest what they need to end within their timeouts.
const (
	requestRate    = 2
	requestTimeout = time.Minute
	streamCount    = 5
)

// load is what a client does all through a scenario.
type load struct {
	suite        *suite
	begun        time.Time
	webapp       addressLoad
	baseline     addressLoad
	streams      *cluster.Streams
	weights      sync.WaitGroup
	cancel       context.CancelFunc
	isolated     atomic.Pointer[cluster.Balancer] // a balancer that cannot know the true weights
	wrongWeights map[string]bool                  // weights that were in a kernel and not true, with the balancer's name before them
}

// side is what is asked of one address.
type addressLoad struct {
	probes  *cluster.Probes
	traffic *testbed.Traffic
}

// result is what one address gave.
type result struct {
	outage   time.Duration // the longest time without an answer
	over     time.Time     // when that ended
	answered int
	lost     int // not answered within requestLimit, refused, or answered by somebody else
	slowest  time.Duration
	last     error
}

// begin starts the load and returns when every part of it goes well.
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
	for _, b := range s.cluster.Balancers { // the kernels tell each other some seconds later
		eventually(t, slowPoll, b.Name+" knows every connection that lasts", func() (bool, string) {
			n, err := l.streams.UnknownTo(ctx, b)
			return err == nil && n == 0, fmt.Sprintf("%d unknown, %v", n, err)
		})
	}
	return l
}

func (s *suite) startAddressLoad(ctx context.Context, to netip.AddrPort) addressLoad {
	return addressLoad{s.cluster.StartProbes(ctx, to), testbed.NewRequester(s.cluster.Client, to, requestTimeout).StartTraffic(ctx, requestRate)}
}

// watch looks at the weights in all kernels.
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

// flows waits until probes sent after this time are answered by both addresses, several in a row, and every connection that lasts has got on.
func (l *load) waitForFlow(t *testing.T, from time.Time) {
	t.Helper()
	const several = 10
	eventually(t, fastPoll, "requests are answered and connections go on", func() (bool, string) {
		webapp, baseline, silent := l.webapp.probes.AnsweredSince(from), l.baseline.probes.AnsweredSince(from), l.streams.UnansweredSince(from)
		return webapp >= several && baseline >= several && silent <= 0,
			fmt.Sprintf("%d answers of webapp and %d of the baseline address, %d connections without an answer", webapp, baseline, silent)
	})
}

// end stops the load and returns what came of it.
func (l *load) stop(t *testing.T) (webapp, baseline result, broken []error) {
	t.Helper()
	webapp, baseline = l.webapp.stop(), l.baseline.stop()
	broken = l.streams.Close()
	l.cancel()
	l.weights.Wait()
	for w := range l.wrongWeights {
		t.Errorf("weights that are not true: %s; true is %s", w, l.suite.cluster.ExpectedWeights())
	}
	for node := range l.webapp.traffic.Counts().ByNode {
		if !strings.HasPrefix(node, "app") {
			t.Errorf("%s answered for webapp", node)
		}
	}
	return webapp, baseline, broken
}

func (s addressLoad) stop() result {
	counts := s.traffic.Stop()
	r := result{answered: counts.Answered, lost: counts.Failed, slowest: counts.Slowest, last: counts.LastError}
	r.outage, r.over = s.probes.Stop()
	return r
}

// table notes a result beside that of the baseline address.
func (s *suite) recordResults(scenario string, webapp, baseline result, broken []error) {
	s.record(scenario, "longest time without an answer to a new connection", webapp.outage, baseline.outage)
	s.record(scenario, "slowest answer, by the client's TCP", webapp.slowest, baseline.slowest)
	s.record(scenario, "requests", webapp.answered+webapp.lost, baseline.answered+baseline.lost)
	s.record(scenario, "requests lost", webapp.lost, baseline.lost)
	s.record(scenario, fmt.Sprintf("of %d connections that last, broken", streamCount), len(broken), nil)
}

// noLonger compares outages: 1.2 times, and a probe at each end.
func compareOutages(t *testing.T, webapp, baseline time.Duration) {
	t.Helper()
	t.Logf("without an answer: webapp %.1f s, baseline address %.1f s: %.2f times", webapp.Seconds(), baseline.Seconds(), webapp.Seconds()/baseline.Seconds())
	if webapp > baseline*12/10+2*cluster.ProbeInterval {
		t.Errorf("webapp was away for %s, the baseline address for %s: more than 1.2 times that", webapp, baseline)
	}
}

// whole fails the test for what was lost.
func checkNothingLost(t *testing.T, webapp result, broken []error) {
	t.Helper()
	if webapp.lost > 0 {
		t.Errorf("%d of %d requests were lost, the last one: %v", webapp.lost, webapp.answered+webapp.lost, webapp.last)
	}
	for _, err := range broken {
		t.Errorf("a connection broke: %v", err)
	}
}

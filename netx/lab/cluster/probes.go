package cluster

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/braintree/lb/netx/lab/testbed"
)

// A probe is a transaction on a new connection. Its timeout leaves no time for a second SYN, so that it measures the network and not TCP's
// retransmissions.
const (
	ProbeInterval = 200 * time.Millisecond
	probeTimeout  = 900 * time.Millisecond
)

// Probes sends probes to an address at a fixed interval.
type Probes struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex  // protects answered
	answered []time.Time // when answered probes were sent
}

// StartProbes sends probes to an address until Stop.
func (c *Cluster) StartProbes(ctx context.Context, to netip.AddrPort) *Probes {
	ctx, cancel := context.WithCancel(ctx)
	p := &Probes{cancel: cancel}
	requester := testbed.NewRequester(c.Client, to, probeTimeout)
	p.done.Go(func() {
		tick := time.NewTicker(ProbeInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.done.Go(func() { p.sendOne(ctx, requester) })
			}
		}
	})
	return p
}

func (p *Probes) sendOne(ctx context.Context, asker *testbed.Requester) {
	sent := time.Now()
	if _, err := asker.Transact(ctx); err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = append(p.answered, sent)
}

// AnsweredSince returns how many answered probes were sent after a time.
func (p *Probes) AnsweredSince(from time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, sent := range p.answered {
		if sent.After(from) {
			n++
		}
	}
	return n
}

// Stop ends the probes. It returns the longest gap between the sending times of two answered probes, and the end of that gap.
func (p *Probes) Stop() (outage time.Duration, over time.Time) {
	p.cancel()
	p.done.Wait()
	slices.SortFunc(p.answered, time.Time.Compare)
	for i := 1; i < len(p.answered); i++ {
		if d := p.answered[i].Sub(p.answered[i-1]); d > outage {
			outage, over = d, p.answered[i]
		}
	}
	return outage, over
}

package cluster

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/braintree/lb/netx/lab/testbed"
)

// A probe is a transaction on a new connection that has no time for a second SYN, so that what is measured is the network and not the client's patience.
const (
	ProbeInterval = 200 * time.Millisecond
	probeTimeout  = 900 * time.Millisecond
)

// Probes ask an address all the time.
type Probes struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex // protects what follows
	answered []time.Time
}

// Probe starts to ask an address, until Stop.
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

// Since counts the probes that were sent after a time and answered.
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

// Stop asks no more and returns the longest time between two probes with an answer, by when they were sent, and when that was over.
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

package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/braintree/lb/netx/lab"
)

// requestTimeout is how long a client waits for a response before the request counts as lost.
const requestTimeout = 15 * time.Second

// Requester sends transactions from a host to one address, each on its own connection.
type Requester struct {
	Upload int // size of each transaction's body, in bytes

	http *http.Client
	url  string
}

// NewRequester returns a Requester with a timeout for each transaction.
func NewRequester(from *lab.Host, to netip.AddrPort, timeout time.Duration) *Requester {
	return &Requester{url: fmt.Sprintf("http://%s/transactions", to), http: &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return from.Dial(ctx, network, address)
		},
	}}}
}

// Traffic is a series of transactions at a constant rate.
type Traffic struct {
	requester *Requester
	cancel    context.CancelFunc
	done      sync.WaitGroup

	mu     sync.Mutex // protects counts
	counts Counts
}

// Counts are the results of the requests so far.
type Counts struct {
	Answered  int            // responses with status 201
	Failed    int            // all other outcomes
	ByNode    map[string]int // answered requests by node name
	LastError error          // of the last failure
	Slowest   time.Duration  // longest time to a result
	Failures  []Failure      // in the order in which they ended
}

// Failure is a failed request.
type Failure struct {
	Sent time.Time
	Err  error
}

// Since returns the difference from an earlier snapshot.
func (c Counts) Since(before Counts) Counts {
	diff := Counts{
		Answered: c.Answered - before.Answered, Failed: c.Failed - before.Failed, ByNode: map[string]int{},
		LastError: c.LastError, Slowest: c.Slowest, Failures: c.Failures[len(before.Failures):],
	}
	for node, n := range c.ByNode {
		diff.ByNode[node] = n - before.ByNode[node]
	}
	return diff
}

// StartTraffic sends rate requests per second to the VIP until Stop. Slow responses do not delay later requests.
func (s *Site) StartTraffic(ctx context.Context, rate int) *Traffic {
	return s.requester().StartTraffic(ctx, rate)
}

// StartTraffic sends rate requests per second until Stop. Slow responses do not delay later requests.
func (a *Requester) StartTraffic(ctx context.Context, rate int) *Traffic {
	ctx, cancel := context.WithCancel(ctx)
	t := &Traffic{requester: a, cancel: cancel}
	t.counts.ByNode = map[string]int{}
	t.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				// Stop waits for requests in flight, so that none counts as lost.
				t.done.Go(func() { t.sendOne(context.WithoutCancel(ctx)) })
			}
		}
	})
	return t
}

// SendRequests sends total requests to the VIP, a number of them concurrently, and returns the results.
func (s *Site) SendRequests(ctx context.Context, total, concurrency int) Counts {
	t := &Traffic{requester: s.requester()}
	t.counts.ByNode = map[string]int{}
	tickets := make(chan struct{}, total)
	for range total {
		tickets <- struct{}{}
	}
	close(tickets)
	for range concurrency {
		t.done.Go(func() {
			for range tickets {
				t.sendOne(ctx)
			}
		})
	}
	t.done.Wait()
	return t.Counts()
}

func (s *Site) requester() *Requester {
	return NewRequester(s.Client, netip.AddrPortFrom(VIP, Port), requestTimeout)
}

// Counts returns the results so far.
func (t *Traffic) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	c.ByNode, c.Failures = maps.Clone(c.ByNode), slices.Clone(c.Failures)
	return c
}

// Stop sends no more requests, waits for those in flight, and returns the final counts.
func (t *Traffic) Stop() Counts {
	t.cancel()
	t.done.Wait()
	return t.Counts()
}

// sendOne sends one transaction and counts the result.
func (t *Traffic) sendOne(ctx context.Context) {
	start := time.Now()
	node, err := t.requester.Transact(ctx)
	waited := time.Since(start)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Slowest = max(t.counts.Slowest, waited)
	if err != nil {
		t.counts.Failed++
		t.counts.LastError = err
		t.counts.Failures = append(t.counts.Failures, Failure{start, err})
		return
	}
	t.counts.Answered++
	t.counts.ByNode[node]++
}

// Transact sends one transaction and returns the name of the node that answered.
func (a *Requester) Transact(ctx context.Context) (node string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(make([]byte, a.Upload)))
	if err != nil {
		return "", err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 256))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: %s: %q", a.url, response.Status, body)
	}
	return string(body), nil
}

package watch

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"time"

	"github.com/braintree/lb/config"
)

// SiteWatcher polls a balancer of another data centre for one cluster.
type SiteWatcher struct {
	cluster  string
	site     config.Site
	interval time.Duration
	timeout  time.Duration
}

// SiteReading is the result of one poll of another data centre's balancer.
type SiteReading struct {
	At        time.Time
	Answered  bool             // there was a valid response, even if it lists no balancer
	Balancers []RemoteBalancer // sorted by address, without duplicates; empty unless Answered
	Detail    string           // why Balancers is empty; "" if it is not
}

// SiteUpdate is a reading and the SiteWatcher that took it.
type SiteUpdate struct {
	From    *SiteWatcher
	Reading SiteReading
}

// SitePoller polls another data centre's balancer for one cluster. It is used by one goroutine at a time.
type SitePoller interface {
	// Poll polls once and returns by the context's deadline. A failure is a SiteReading that is not Answered.
	Poll(ctx context.Context) SiteReading
	// Close closes the connection kept between polls.
	Close()
}

// NewSiteWatcher returns a watcher of a cluster on a site; Run starts it.
func NewSiteWatcher(c config.Cluster, s config.Site) *SiteWatcher {
	return &SiteWatcher{cluster: c.Name, site: s, interval: c.CheckInterval, timeout: c.CheckTimeout}
}

// Matches reports whether a watcher made from this config would do the same, so that s and its connection can stay.
func (s *SiteWatcher) Matches(c config.Cluster, site config.Site) bool {
	return *s == *NewSiteWatcher(c, site)
}

// Run polls at once and then at the site's phase of every interval until ctx ends, then closes the poller. Polls never overlap.
func (s *SiteWatcher) Run(ctx context.Context, p SitePoller, out chan<- SiteUpdate) {
	defer p.Close()
	runEvery(ctx, s.phase(), s.interval, func() bool {
		pollCtx, cancel := context.WithTimeout(ctx, s.timeout)
		r := p.Poll(pollCtx)
		cancel()
		if ctx.Err() != nil {
			return false // interrupted: the reading says nothing about the site
		}
		select {
		case out <- SiteUpdate{s, r}:
			return true
		case <-ctx.Done():
			return false
		}
	})
}

func (s *SiteWatcher) phase() time.Duration {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s", s.cluster, s.site.At)
	return time.Duration(h.Sum64() % uint64(s.interval))
}

// runEvery calls do at once, after phase, and then every interval, until do returns false or ctx ends.
func runEvery(ctx context.Context, phase, interval time.Duration, do func() bool) {
	next, step := time.Now(), phase
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !do() {
			return
		}
		next, step = next.Add(step), interval
		for now := time.Now(); next.Before(now); {
			next = next.Add(interval) // skip missed calls, as after a suspend
		}
		timer.Reset(time.Until(next))
	}
}

// sitePoller fetches the two pages of a cluster one after the other, on one persistent connection.
type sitePoller struct {
	http                   *httpPoller
	clusterPath, relayPath string
}

// NewSitePoller polls http://address:port/fwmark/MARK for the cluster's mark and for its relay mark, as big_brother polls its
// interpol nodes.
func NewSitePoller(c config.Cluster, s config.Site) SitePoller {
	path := func(mark uint32) string { return fmt.Sprintf("/fwmark/%d", mark) }
	return &sitePoller{newHTTPPoller(s.At, path(c.Mark)), path(c.Mark), path(c.Relay.Mark)}
}

// Poll implements SitePoller.
func (p *sitePoller) Poll(ctx context.Context) SiteReading {
	balancers, whyNone, err := p.get(ctx, p.clusterPath)
	if err == nil && whyNone == "" {
		var relays []RemoteBalancer
		if relays, whyNone, err = p.get(ctx, p.relayPath); err == nil && whyNone == "" {
			if balancers = onBothPages(balancers, relays); len(balancers) == 0 {
				whyNone = fmt.Sprintf("no balancer is on both %s and %s", p.clusterPath, p.relayPath)
			}
		}
	}
	r := SiteReading{At: time.Now(), Answered: err == nil, Detail: whyNone}
	switch {
	case err != nil:
		r.Detail = err.Error()
	case whyNone == "":
		r.Balancers = balancers
	}
	return r
}

// get fetches and parses one page. Without an error, whyNone says why the page lists no balancer; "" if it lists any.
func (p *sitePoller) get(ctx context.Context, path string) (balancers []RemoteBalancer, whyNone string, err error) {
	start := time.Now()
	resp, err := p.http.roundTrip(ctx, p.http.request(path+" HTTP/1.1", "Accept: application/json"))
	if err != nil {
		return nil, "", errors.New(describe(err, time.Since(start)))
	}
	body, err := p.http.readBody(ctx, resp)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, path + " does not exist there", nil
	case resp.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("%s: status %d", path, resp.StatusCode)
	case len(body) == maxResponseBody:
		return nil, "", fmt.Errorf("%s: response exceeds %d KiB", path, maxResponseBody>>10)
	case err != nil:
		return nil, "", fmt.Errorf("%s: %s", path, describe(err, time.Since(start)))
	}
	if balancers, err = parseSite(body); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if len(balancers) == 0 {
		whyNone = path + " lists no balancer: the cluster is not running there"
	}
	return balancers, whyNone, nil
}

// Close implements SitePoller.
func (p *sitePoller) Close() { p.http.Close() }

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

// SiteWatcher watches a cluster on a balancer of another data centre, on its own clock.
type SiteWatcher struct {
	cluster  string
	site     config.Site
	interval time.Duration
	timeout  time.Duration
}

// SiteReading is what one look at another data centre's balancer gave.
type SiteReading struct {
	At        time.Time
	Answered  bool             // it said what it has, were it nothing; false: it was silent, or not to be understood
	Balancers []RemoteBalancer // sorted by address, each once; none unless Answered
	Detail    string           // why there are none; "" with members
}

// SiteUpdate is what a Site sends.
type SiteUpdate struct {
	From    *SiteWatcher
	Reading SiteReading
}

// SitePoller asks another data centre's balancer for one cluster. It is used by one goroutine at a time.
type SitePoller interface {
	// Poll asks once and returns by the context's deadline; a failure is a SiteReading that is not Answered.
	Poll(ctx context.Context) SiteReading
	// Close gives back what is kept between polls.
	Close()
}

// NewSiteWatcher returns a watcher of a cluster on a site. It does nothing before Run.
func NewSiteWatcher(c config.Cluster, s config.Site) *SiteWatcher {
	return &SiteWatcher{cluster: c.Name, site: s, interval: c.CheckInterval, timeout: c.CheckTimeout}
}

// Matches tells whether s polls exactly what is wanted of it, so that it and its connection can stay.
func (s *SiteWatcher) Matches(c config.Cluster, site config.Site) bool {
	return *s == *NewSiteWatcher(c, site)
}

// Run polls at once, then at the site's own phase of every interval, until ctx ends, and closes the poller then. Two polls never overlap.
func (s *SiteWatcher) Run(ctx context.Context, p SitePoller, out chan<- SiteUpdate) {
	defer p.Close()
	every(ctx, s.phase(), s.interval, func() bool {
		poll, cancel := context.WithTimeout(ctx, s.timeout)
		r := p.Poll(poll)
		cancel()
		if ctx.Err() != nil {
			return false // the poll was broken off: it says nothing about the site
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

// every calls do at once, a phase later, and from then on every interval, until it returns false or ctx ends.
func every(ctx context.Context, phase, interval time.Duration, do func() bool) {
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
			next = next.Add(interval) // late, as after a suspend: leave out what was missed
		}
		timer.Reset(time.Until(next))
	}
}

// sitePoller asks for the two pages of a cluster, one after the other, on one connection that is kept.
type sitePoller struct {
	http           *httpPoller
	cluster, relay string // paths of the pages
}

// NewSitePoller asks http://address:port/fwmark/MARK for the cluster's mark and for that of its relay, as big_brother asks its interpol nodes.
func NewSitePoller(c config.Cluster, s config.Site) SitePoller {
	page := func(mark uint32) string { return fmt.Sprintf("/fwmark/%d", mark) }
	return &sitePoller{newHTTPPoller(s.At, page(c.Mark)), page(c.Mark), page(c.Relay.Mark)}
}

// Poll implements SitePoller.
func (p *sitePoller) Poll(ctx context.Context) SiteReading {
	cluster, none, err := p.get(ctx, p.cluster)
	if err == nil && none == "" {
		var relay []RemoteBalancer
		if relay, none, err = p.get(ctx, p.relay); err == nil && none == "" {
			if cluster = onBoth(cluster, relay); len(cluster) == 0 {
				none = fmt.Sprintf("no balancer is both on %s and on %s", p.cluster, p.relay)
			}
		}
	}
	r := SiteReading{At: time.Now(), Answered: err == nil, Detail: none}
	switch {
	case err != nil:
		r.Detail = err.Error()
	case none == "":
		r.Balancers = cluster
	}
	return r
}

// get fetches and reads one page. Without an error, none says why it lists nobody; "" when it does.
func (p *sitePoller) get(ctx context.Context, path string) (members []RemoteBalancer, none string, err error) {
	begun := time.Now()
	resp, err := p.http.ask(ctx, p.http.request(path+" HTTP/1.1", "Accept: application/json"))
	if err != nil {
		return nil, "", errors.New(reason(err, time.Since(begun)))
	}
	body, err := p.http.finish(ctx, resp)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, path + " does not exist there", nil
	case resp.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("%s: status %d", path, resp.StatusCode)
	case len(body) == maxAnswerBody:
		return nil, "", fmt.Errorf("%s is longer than %d KiB", path, maxAnswerBody>>10)
	case err != nil:
		return nil, "", fmt.Errorf("%s: %s", path, reason(err, time.Since(begun)))
	}
	if members, err = parseSite(body); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if len(members) == 0 {
		none = path + " lists nobody: the cluster does not run there"
	}
	return members, none, nil
}

// Close implements SitePoller.
func (p *sitePoller) Close() { p.http.Close() }

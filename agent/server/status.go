package server

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/braintree/lb/agent/fastpath"
	"github.com/braintree/lb/agent/service"
)

// pages has the cached status page of each service of a set, by name. It is immutable.
type pages map[string]*cachedPage

// cachedPage keeps the latest status page of a service.
type cachedPage struct {
	service *service.Service
	latest  atomic.Pointer[statusPage] // nil before the first request
}

func newPages(set *service.Set) *pages {
	p := make(pages, len(set.Services))
	for _, svc := range set.Services {
		p[svc.Name] = &cachedPage{service: svc}
	}
	return &p
}

// statusPage is the answer to GET /SERVICE/status as text. It is rendered once and shared until something on
// it changes. It is immutable.
type statusPage struct {
	status  int
	header  http.Header // without Date
	body    []byte
	quick   *fastpath.Answer   // the same answer, for the fast path
	counter prometheus.Counter // counts responses with this page

	of     service.View // what the page shows
	forces uint64       // force.Store.Changes when the page was rendered
	stale  time.Time    // when the next result goes stale; zero: never
}

// statusPage returns the page of a service as of now.
func (s *Server) statusPage(c *cachedPage, now time.Time) *statusPage {
	forces := s.opts.Changes.Store.Changes() // read before the forces, so that a change in between invalidates the new page
	p := c.latest.Load()
	if p == nil || p.forces != forces || !p.valid(now) || p.of.Fault != s.opts.Services.Fault(c.service.Name) {
		p = s.newStatusPage(s.opts.Services.View(c.service, now), now)
		p.forces = forces
		c.latest.Store(p)
	}
	return p
}

// valid reports whether the page is still true, apart from changed forces.
func (p *statusPage) valid(now time.Time) bool {
	if !p.stale.IsZero() && !now.Before(p.stale) || p.of.Forced != nil && p.of.Forced.Expired(now) {
		return false
	}
	for _, c := range p.of.Checks {
		if c.Latest() != c.Result {
			return false
		}
	}
	return true
}

func (s *Server) newStatusPage(v service.View, now time.Time) *statusPage {
	p := &statusPage{status: statusOf(v), header: headerOf(v), body: statusText(v, now), of: v}
	setEntity(p.header, plainText, p.body)
	p.quick = fastpath.NewAnswer(p.status, p.header, p.body)
	p.counter = s.metrics.requests.of(requestKind{"status", p.status})
	for _, c := range v.Checks {
		if from := c.StaleFrom(); from.After(now) && (p.stale.IsZero() || from.Before(p.stale)) {
			p.stale = from
		}
	}
	return p
}

// statusOf is the HTTP status of an answer about a service.
func statusOf(v service.View) int {
	if v.Health == 0 {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// headerOf has the header fields that balancers read.
func headerOf(v service.View) http.Header {
	h := http.Header{"X-Health": {strconv.Itoa(v.Health)}}
	if v.Forced != nil {
		h["X-Health-Forced"] = []string{string(v.Forced.Kind)}
	}
	return h
}

// FindPage is fastpath.Find. It finds the status page of every service with a name that needs no escaping.
func (s *Server) FindPage(path []byte, now time.Time) *fastpath.Answer {
	name, ok := bytes.CutSuffix(path[1:], []byte("/status"))
	if !ok {
		return nil
	}
	c, ok := (*s.pages.Load())[string(name)]
	if !ok {
		return nil
	}
	p := s.statusPage(c, now)
	p.counter.Inc()
	return p.quick
}

func (s *Server) answerStatus(w http.ResponseWriter, r *http.Request, name string) {
	c, ok := (*s.pages.Load())[name]
	if !ok {
		w.Header().Set("X-Health", "0")
		answer(w, http.StatusNotFound, notFound)
		return
	}
	now := time.Now()
	if wantsJSON(r) {
		v := s.opts.Services.View(c.service, now)
		maps.Copy(w.Header(), headerOf(v))
		answerJSON(w, statusOf(v), report(v, now))
		return
	}
	p := s.statusPage(c, now)
	maps.Copy(w.Header(), p.header)
	w.WriteHeader(p.status)
	w.Write(p.body) // a failed write means that the client is gone
}

package agent

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/braintree/lb/agent/fastpath"
)

// statusPage is the answer to GET /SERVICE/status as text, which is made once for all who ask until something in it changes. It does not
// change itself.
type statusPage struct {
	status  int
	header  http.Header // all but the date
	body    []byte
	quick   *fastpath.Answer   // the same
	counter prometheus.Counter // of such answers

	of     view      // what it tells
	forces uint64    // of the forces when it was made, see force.Store
	stale  time.Time // from when on one more of the results is too old; zero: never
}

// statusPage gives the page of a service as it is now.
func (a *Agent) statusPage(s *service, now time.Time) *statusPage {
	forces := a.forces.Changes() // before they are looked at, so that a change meanwhile shows later
	p := s.page.Load()
	if p == nil || p.forces != forces || !p.holds(now) {
		p = a.newStatusPage(a.look(s, now), now)
		p.forces = forces
		s.page.Store(p)
	}
	return p
}

// holds tells whether the page is still true, but for forces that were changed.
func (p *statusPage) holds(now time.Time) bool {
	if !p.stale.IsZero() && !now.Before(p.stale) || p.of.forced != nil && p.of.forced.Expired(now) {
		return false
	}
	for _, l := range p.of.all {
		if l.Latest() != l.result {
			return false
		}
	}
	return true
}

func (a *Agent) newStatusPage(v view, now time.Time) *statusPage {
	p := &statusPage{status: v.status(), header: v.header(), body: v.statusText(now), of: v}
	entity(p.header, plainText, p.body)
	p.quick = fastpath.NewAnswer(p.status, p.header, p.body)
	p.counter = a.scrape.requests.of(requestKind{"status", p.status})
	for _, l := range v.all {
		if from := l.StaleFrom(); from.After(now) && (p.stale.IsZero() || from.Before(p.stale)) {
			p.stale = from
		}
	}
	return p
}

// status is the status of an answer about a service.
func (v view) status() int {
	if v.health == 0 {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// header has what balancers read of an answer about a service.
func (v view) header() http.Header {
	h := http.Header{"X-Health": {strconv.Itoa(v.health)}}
	if v.forced != nil {
		h["X-Health-Forced"] = []string{string(v.forced.Kind)}
	}
	return h
}

// findPage is fastpath.Find: it knows the status of every service whose name needs no escaping.
func (a *Agent) findPage(path []byte, now time.Time) *fastpath.Answer {
	name, ok := bytes.CutSuffix(path[1:], []byte("/status"))
	if !ok {
		return nil
	}
	s, ok := a.current.Load().byName[string(name)]
	if !ok {
		return nil
	}
	p := a.statusPage(s, now)
	p.counter.Inc()
	return p.quick
}

func (a *Agent) answerStatus(w http.ResponseWriter, r *http.Request, name string) {
	s, ok := a.current.Load().byName[name]
	if !ok {
		w.Header().Set("X-Health", "0")
		answer(w, http.StatusNotFound, notFound)
		return
	}
	now := time.Now()
	if wantsJSON(r) {
		v := a.look(s, now)
		maps.Copy(w.Header(), v.header())
		answerJSON(w, v.status(), v.report(now))
		return
	}
	p := a.statusPage(s, now)
	maps.Copy(w.Header(), p.header)
	w.WriteHeader(p.status)
	w.Write(p.body) // a client that went away is not our concern
}

package agent

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/sanitize"
)

// change forces a service (or all, with service "") on POST, and ends a force on DELETE.
func (a *Agent) change(w http.ResponseWriter, r *http.Request, over way, service string, kind score.Kind) {
	r, refusal := a.admit(over)(r, "lb ctl force")
	if refusal != nil {
		a.refusals.Log(r, refusal, "service", service, "kind", kind)
		refusal.SetHeader(w.Header())
		answer(w, refusal.Status, refusal.Text+"\n")
		return
	}
	if r.Method == http.MethodDelete {
		a.unforce(w, r, service, kind)
		return
	}
	a.force(w, r, service, kind)
}

func (a *Agent) force(w http.ResponseWriter, r *http.Request, service string, kind score.Kind) {
	if _, known := a.current.Load().byName[service]; service != "" && !known {
		answer(w, http.StatusNotFound, notFound)
		return
	}
	if err := listen.ParseForm(r); err != nil {
		status := http.StatusBadRequest
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			status = http.StatusRequestEntityTooLarge
		}
		answer(w, status, "The parameters cannot be read: "+sanitize.Line(err.Error(), 200)+".\n")
		return
	}
	f, err := forceFrom(r, service, kind)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	if err := a.forces.Put(f); err != nil {
		a.answerFailure(w, err)
		return
	}
	a.forceChanged(service)
	attrs := []any{"service", service, "kind", kind, "value", f.Value, "reason", f.Reason, "who", f.Who, "peer", listen.Peer(r)}
	if !f.Expires.IsZero() {
		attrs = append(attrs, "expires", f.Expires)
	}
	a.log.Info("forced", attrs...)
	e := entry(audit.Forced, f)
	e.Peer = listen.Peer(r)
	answerChange(w, r, audit.Forced, f, a.record(e))
}

// forceFrom reads the force that a request's parameters ask for.
func forceFrom(r *http.Request, service string, kind score.Kind) (force.Force, error) {
	f := force.Force{Service: service, Kind: kind, Reason: listen.Param(r, "reason"), Who: listen.Param(r, "who"), At: time.Now()}
	if f.Who == "" {
		f.Who = listen.Peer(r)
	}
	if kind == score.Health {
		var err error
		if f.Value, err = parseHealth(listen.Param(r, "health")); err != nil {
			return f, err
		}
	}
	if text := listen.Param(r, "for"); text != "" {
		d, err := force.ParseDuration(text)
		if err != nil {
			return f, err
		}
		f.Expires = f.At.Add(d)
	}
	return f.Cleaned(), nil
}

func (a *Agent) unforce(w http.ResponseWriter, r *http.Request, service string, kind score.Kind) {
	f, existed, err := a.forces.Delete(service, kind)
	switch {
	case err != nil:
		a.answerFailure(w, err)
	case !existed:
		answer(w, http.StatusNotFound, notFound)
	default:
		a.forceChanged(service)
		query, peer := r.URL.Query(), listen.Peer(r)
		who := cmp.Or(query.Get("who"), peer)
		a.log.Info("no longer forced", "service", service, "kind", kind, "reason", sanitize.Line(query.Get("reason"), 200),
			"who", sanitize.Line(who, 100), "peer", peer)
		e := entry(audit.Deleted, f)
		e.Who, e.Reason, e.Peer = who, query.Get("reason"), peer
		answerChange(w, r, audit.Deleted, f, a.record(e))
	}
}

// answerFailure tells the client that its change did not happen, and why.
func (a *Agent) answerFailure(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, force.ErrInvalid) {
		status = http.StatusBadRequest
	} else {
		a.log.Error("a change failed", "err", err)
	}
	answer(w, status, sanitize.Line(err.Error(), 1000)+"\n")
}

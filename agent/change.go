package agent

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/braintree/lb/agent/audit"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/oneline"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/listen"
)

// change forces a service (or all, with service "") on POST, and ends a force on DELETE.
func (a *Agent) change(w http.ResponseWriter, r *http.Request, over way, service string, kind score.Kind) {
	if refusal := a.refusal(r, over); refusal != "" {
		a.log.Info("a change was refused", "service", service, "kind", kind, "method", r.Method, "peer", listen.Peer(r), "cause", refusal)
		answer(w, http.StatusForbidden, refusal+"\n")
		return
	}
	if r.Method == http.MethodDelete {
		a.unforce(w, r, service, kind)
		return
	}
	a.force(w, r, service, kind)
}

// refusal says why this client may make no changes, and what to do about it; "" when it may.
func (a *Agent) refusal(r *http.Request, over way) string {
	if over == overSocket {
		return ""
	}
	current := a.current.Load().cfg.Agent
	switch {
	case !current.TrustLoopback:
		return fmt.Sprintf("Changes are not taken here. Make them on the machine itself with `lb ctl force`, which asks the agent's socket %s; "+
			"or set agent.trust_loopback = true there to take them over TCP from 127.0.0.1 and ::1.", a.control.Addr())
	case !listen.FromLoopback(r):
		return "Changes are taken from 127.0.0.1 and ::1 only. Make them on the machine itself, with `lb ctl force`."
	case listen.FromWebPage(r):
		return "Changes are not taken from web pages of other sites. Use `lb ctl force`."
	}
	return ""
}

func (a *Agent) force(w http.ResponseWriter, r *http.Request, service string, kind score.Kind) {
	if _, known := a.current.Load().byName[service]; service != "" && !known {
		answer(w, http.StatusNotFound, notFound)
		return
	}
	if err := parseForm(r); err != nil {
		status := http.StatusBadRequest
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			status = http.StatusRequestEntityTooLarge
		}
		answer(w, status, "The parameters cannot be read: "+oneline.Clean(err.Error(), 200)+".\n")
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
	a.log.Info("forced", "service", service, "kind", kind, "value", f.Value, "reason", oneline.Clean(f.Reason, 200), "who", oneline.Clean(f.Who, 100), "peer", listen.Peer(r))
	e := entry(audit.Forced, f)
	e.Peer = listen.Peer(r)
	answerChange(w, r, audit.Forced, f, a.record(e))
}

// forceFrom reads the force that a request's parameters ask for.
func forceFrom(r *http.Request, service string, kind score.Kind) (force.Force, error) {
	f := force.Force{Service: service, Kind: kind, Reason: param(r, "reason"), Who: param(r, "who"), At: time.Now()}
	if f.Who == "" {
		f.Who = listen.Peer(r)
	}
	if kind == score.Health {
		var err error
		if f.Value, err = parseHealth(param(r, "health")); err != nil {
			return f, err
		}
	}
	if text := param(r, "for"); text != "" {
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
		a.log.Info("no longer forced", "service", service, "kind", kind, "who", oneline.Clean(r.URL.Query().Get("who"), 100), "peer", listen.Peer(r))
		e := entry(audit.Deleted, f)
		query := r.URL.Query()
		e.Who, e.Reason, e.Peer = cmp.Or(query.Get("who"), listen.Peer(r)), query.Get("reason"), listen.Peer(r)
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
	answer(w, status, oneline.Clean(err.Error(), 1000)+"\n")
}

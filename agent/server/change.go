package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/sanitize"
)

// change forces a service (every service if service is "") on POST, and ends a force on DELETE.
func (s *Server) change(w http.ResponseWriter, r *http.Request, over Transport, service string, kind score.Kind) {
	r, refusal := s.admit(over)(r, "lb ctl force")
	if refusal != nil {
		s.refusals.Log(r, refusal, "service", service, "kind", kind)
		refusal.SetHeader(w.Header())
		answer(w, refusal.Status, refusal.Text+"\n")
		return
	}
	if r.Method == http.MethodDelete {
		s.unforce(w, r, service, kind)
		return
	}
	s.force(w, r, service, kind)
}

func (s *Server) force(w http.ResponseWriter, r *http.Request, service string, kind score.Kind) {
	if _, known := s.opts.Services.Current().ByName[service]; service != "" && !known {
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
	auditErr, err := s.opts.Changes.Put(f, listen.Peer(r))
	if err != nil {
		s.answerFailure(w, err)
		return
	}
	answerChange(w, r, audit.Forced, f, auditErr)
}

// forceFrom reads a force from a request's parameters.
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

// parseHealth reads the number of a forced health.
func parseHealth(s string) (int, error) {
	if s == "" {
		return 0, errors.New("health is missing: give health=N, a whole number from 0 to 100")
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 8)
	if err != nil || n > score.Max {
		return 0, fmt.Errorf("health must be a whole number from 0 to 100, not %q", sanitize.Line(s, 40))
	}
	return int(n), nil
}

func (s *Server) unforce(w http.ResponseWriter, r *http.Request, service string, kind score.Kind) {
	query, peer := r.URL.Query(), listen.Peer(r)
	by := force.By{Who: cmp.Or(query.Get("who"), peer), Reason: query.Get("reason"), Peer: peer}
	f, auditErr, err := s.opts.Changes.Delete(service, kind, by)
	switch {
	case errors.Is(err, force.ErrNotForced):
		answer(w, http.StatusNotFound, notFound)
	case err != nil:
		s.answerFailure(w, err)
	default:
		answerChange(w, r, audit.Deleted, f, auditErr)
	}
}

// answerChange confirms a change. The first line is litmus_paper's; further lines say what litmus_paper has
// no equivalent for.
func answerChange(w http.ResponseWriter, r *http.Request, change audit.Change, f force.Force, auditErr error) {
	status, text := http.StatusCreated, "File created"
	if change == audit.Deleted {
		status, text = http.StatusOK, "File deleted"
	}
	result := api.Change{Change: change, Service: f.Service, Force: f.Report()}
	if change == audit.Forced && !f.Expires.IsZero() {
		text += "\nIt ends by itself at " + f.Expires.Format(time.RFC3339) + ".\n"
	}
	if auditErr != nil {
		result.AuditError = auditErr.Error()
		text += "\nThe change was made, but: " + auditErr.Error() + ".\n"
	}
	if wantsJSON(r) {
		answerJSON(w, status, result)
		return
	}
	answer(w, status, text)
}

// answerFailure reports a change that was not made, and why.
func (s *Server) answerFailure(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, force.ErrInvalid) {
		status = http.StatusBadRequest
	} else {
		s.opts.Log.Error("change failed", "err", err)
	}
	answer(w, status, sanitize.Line(err.Error(), 1000)+"\n")
}

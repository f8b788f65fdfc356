package agent

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

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
	f := force.Force{Service: service, Kind: kind, Reason: r.Form.Get("reason"), Who: r.Form.Get("who"), At: time.Now()}
	if f.Who == "" {
		f.Who = listen.Peer(r)
	}
	if kind == score.Health {
		n, err := parseHealth(r.Form.Get("health"))
		if err != nil {
			answer(w, http.StatusBadRequest, err.Error()+"\n")
			return
		}
		f.Value = n
	}
	if err := a.forces.Put(f); err != nil {
		a.answerFailure(w, err)
		return
	}
	a.log.Info("forced", "service", service, "kind", kind, "value", f.Value, "reason", oneline.Clean(f.Reason, 200), "who", oneline.Clean(f.Who, 100), "peer", listen.Peer(r))
	answer(w, http.StatusCreated, "File created")
}

func (a *Agent) unforce(w http.ResponseWriter, r *http.Request, service string, kind score.Kind) {
	existed, err := a.forces.Delete(service, kind)
	switch {
	case err != nil:
		a.answerFailure(w, err)
	case !existed:
		answer(w, http.StatusNotFound, notFound)
	default:
		a.log.Info("no longer forced", "service", service, "kind", kind, "who", oneline.Clean(r.URL.Query().Get("who"), 100), "peer", listen.Peer(r))
		answer(w, http.StatusOK, "File deleted")
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

// parseForm reads parameters from the query and the body: urlencoded, multipart, or without a type, as curl and old clients send.
func parseForm(r *http.Request) error {
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		// All of a body of at most maxBodyBytes fits in memory, so nothing goes to temporary files.
		return r.ParseMultipartForm(2 * maxBodyBytes)
	}
	return r.ParseForm()
}

// parseHealth reads the number of a forced health.
func parseHealth(s string) (int, error) {
	if s == "" {
		return 0, errors.New("health is missing: give health=N, a whole number from 0 to 100")
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 8)
	if err != nil || n > score.Max {
		return 0, fmt.Errorf("health must be a whole number from 0 to 100, not %q", oneline.Clean(s, 40))
	}
	return int(n), nil
}

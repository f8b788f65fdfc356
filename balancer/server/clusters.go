package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/listen"
)

func (h handler) find(r *http.Request, name string) (api.ClusterStatus, bool) {
	for _, c := range h.Clusters.Status(r.Context()).Clusters {
		if c.Name == name {
			return c, true
		}
	}
	return api.ClusterStatus{}, false
}

// list serves GET /: the running clusters, then the stopped ones.
func (h handler) list(w http.ResponseWriter, r *http.Request) {
	if !isRead(r) {
		notFound(w)
		return
	}
	all := h.Clusters.Status(r.Context())
	all.Version = h.Version
	switch {
	case wantsPage(r):
		answerPage(w, all)
		return
	case wantsJSON(r):
		answerJSON(w, all)
		return
	}
	var running, stopped strings.Builder
	for _, c := range all.Clusters {
		if c.Running {
			fmt.Fprintf(&running, "+ %s (%d) - CombinedWeight: %d\n", c.Name, c.Mark, c.CombinedWeight)
		} else {
			fmt.Fprintf(&stopped, "- %s (%d)\n", c.Name, c.Mark)
		}
	}
	// The first words are those of big_brother, for programs that look for them.
	text(w, http.StatusOK, fmt.Sprintf("Big Brother: lb %s\n\nRunning:\n%s\nStopped:\n%s\n", h.Version, running.String(), stopped.String()))
}

// status serves GET /cluster/NAME and GET /cluster/NAME/status.
func (h handler) status(w http.ResponseWriter, r *http.Request, name string) {
	c, known := h.find(r, name)
	switch {
	case !known:
		text(w, http.StatusNotFound, (&api.NoClusterError{Name: name}).Error())
	case wantsJSON(r):
		answerJSON(w, c)
	default:
		text(w, http.StatusOK, fmt.Sprintf("Running: %t\nCombinedWeight: %d\n", c.Running, c.CombinedWeight))
	}
}

// detail serves GET /cluster/NAME/status_detail, byte for byte as big_brother does. The weights are those in the kernel.
func (h handler) detail(w http.ResponseWriter, r *http.Request, name string) {
	c, known := h.find(r, name)
	if !known {
		text(w, http.StatusNotFound, (&api.NoClusterError{Name: name}).Error())
		return
	}
	var nodes []string
	for _, n := range c.Nodes {
		weight := 0
		if c.Running && n.KernelWeight != nil {
			weight = *n.KernelWeight
		}
		if n.State != api.StateLeaving && n.Site == "" {
			nodes = append(nodes, fmt.Sprintf("%q:%d", n.Address, weight))
		}
	}
	quoted, err := json.Marshal(c.Name)
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	text(w, http.StatusOK, fmt.Sprintf(`{"nodes":{%s},"cluster":%s,"running":%t}`, strings.Join(nodes, ","), quoted, c.Running))
}

// change serves PUT and DELETE /cluster/NAME: start and stop.
func (h handler) change(w http.ResponseWriter, r *http.Request, name string) {
	verb, do := "start", h.Clusters.Start
	if r.Method == http.MethodDelete {
		verb, do = "stop", h.Clusters.Stop
	}
	r, refusal := h.admit(r, "lb ctl cluster "+verb+" "+name)
	if refusal != nil {
		h.refuse(w, r, refusal, "cluster", name, "change", verb)
		return
	}
	// The body is empty, but it has to arrive before the deadlines are prolonged.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.Header().Set("Connection", "close")
		text(w, http.StatusRequestEntityTooLarge, "the request body is too large or incomplete: send no body\n")
		return
	}
	ctx := r.Context()
	if r.Method == http.MethodDelete {
		// A stop is carried out even if its client has gone. A cluster manager that gave up has removed the service itself;
		// without the stop lb would restore it as drift.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	prolong(w)
	changed, err := do(ctx, name, listen.Peer(r))
	var unknown *api.NoClusterError
	switch {
	case errors.As(err, &unknown):
		text(w, http.StatusNotFound, err.Error())
	case errors.Is(err, api.ErrStopping):
		failure(w, http.StatusServiceUnavailable, err)
	case err != nil:
		text(w, http.StatusInternalServerError, err.Error()+"\n")
	case changed:
		text(w, http.StatusOK, "OK")
	default:
		w.WriteHeader(http.StatusNotModified)
	}
}

func answerJSON(w http.ResponseWriter, v any) { answerJSONWith(w, http.StatusOK, v) }

func answerJSONWith(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

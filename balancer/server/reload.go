package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/listen"
)

// reload serves POST /reload.
func (h handler) reload(w http.ResponseWriter, r *http.Request) {
	r, refusal := h.admit(r, "lb ctl reload")
	if refusal != nil {
		h.refuse(w, r, refusal, "change", "reload")
		return
	}
	force := r.URL.Query().Get("force")
	if force != "" && force != "true" {
		text(w, http.StatusBadRequest, "force must be true or omitted\n")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	prolong(w)
	warnings, err := h.Configuration.Reload(ctx, api.Reload{Force: force != "", Who: listen.Peer(r)})
	incomplete := (*api.IncompleteError)(nil)
	result := api.ReloadResult{Reloaded: err == nil || errors.As(err, &incomplete), Error: oneLine(err), Warnings: warnings}
	status, lines := http.StatusOK, []string{"reloaded"}
	switch {
	case errors.Is(err, api.ErrStopping):
		status = http.StatusServiceUnavailable
	case incomplete != nil:
		status = http.StatusInternalServerError
	case err != nil:
		status = http.StatusConflict
	}
	if wantsJSON(r) {
		answerJSONWith(w, status, result)
		return
	}
	if err != nil {
		lines[0] = result.Error
	}
	for _, warning := range warnings {
		lines = append(lines, "warning: "+warning)
	}
	text(w, status, strings.Join(lines, "\n")+"\n")
}

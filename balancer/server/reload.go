package server

import (
	"context"
	"errors"
	"net/http"

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
	switch err := h.Configuration.Reload(ctx, api.Reload{Force: force != "", Who: listen.Peer(r)}); {
	case errors.Is(err, api.ErrStopping):
		failure(w, http.StatusServiceUnavailable, err)
	case err != nil:
		failure(w, http.StatusConflict, err)
	default:
		text(w, http.StatusOK, "reloaded\n")
	}
}

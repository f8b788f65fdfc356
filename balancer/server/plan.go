package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// plan serves GET /plan, which previews changes to the kernel now, and POST /plan, which previews a reload of the configuration in
// the body. POST requires permission to make changes: it is expensive, and the response shows the contents of files.
func (h handler) plan(w http.ResponseWriter, r *http.Request) {
	var files []config.File
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		admitted, refusal := h.admit(r, "lb ctl plan --config FILE")
		if refusal != nil {
			h.refuse(w, r, refusal, "change", "plan")
			return
		}
		r = admitted
		var status int
		var err error
		if files, status, err = readCandidate(r); err != nil {
			w.Header().Set("Connection", "close")
			text(w, status, err.Error()+"\n")
			return
		}
	default:
		notFound(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	prolong(w)
	switch p, err := h.Configuration.Plan(ctx, files); {
	case errors.Is(err, api.ErrStopping):
		failure(w, http.StatusServiceUnavailable, err)
	case err != nil:
		text(w, http.StatusInternalServerError, err.Error()+"\n")
	case wantsJSON(r):
		answerJSON(w, p)
	default:
		text(w, http.StatusOK, p.String())
	}
}

// readCandidate reads the body of POST /plan. An error comes with its status.
func readCandidate(r *http.Request) ([]config.File, int, error) {
	var c api.Candidate
	err := json.NewDecoder(r.Body).Decode(&c)
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return nil, http.StatusRequestEntityTooLarge, errors.New("the configuration is larger than 4 MiB")
	}
	if err != nil {
		return nil, http.StatusBadRequest, errors.New("the body is not a configuration in JSON: " + sanitize.Line(err.Error(), 200))
	}
	if len(c.Files) == 0 {
		return nil, http.StatusBadRequest, errors.New("the body has no files")
	}
	return c.Files, http.StatusOK, nil
}

package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/sanitize"
)

// maxPlanBody bounds a config that is to be planned: room for twenty thousand nodes.
const maxPlanBody = 4 << 20

// mostBody is how much of a request's body is read.
func mostBody(r *http.Request) int64 {
	if r.URL.Path == "/plan" {
		return maxPlanBody
	}
	return listen.MaxBody
}

// plan tells what a reload with these files would change; without files, what the next cycle would.
func (b *Balancer) plan(ctx context.Context, files []config.File) (api.Plan, error) {
	if files == nil {
		return b.engine.Plan(ctx, nil)
	}
	cfg, err := config.LoadFiles(files, b.options.Checks)
	if err == nil {
		_, err = listener().LoadPolicy(cfg.Balancer.Access)
	}
	if err != nil {
		return api.RefusedPlan(err), nil
	}
	p, err := b.engine.Plan(ctx, cfg)
	if lasting(cfg.Balancer) != lasting(b.cfg) {
		p.Notes = append(p.Notes, restartWords)
	}
	return p, err
}

// planPage answers GET /plan, what would change in the kernel now, and POST /plan, what a reload with the config in the body would change.
// The former is a read; the latter tells what files hold, and takes work, so only who may make changes may ask.
func (h handler) planPage(w http.ResponseWriter, r *http.Request) {
	var files []config.File
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		admitted, refusal := h.admit(r, "lb ctl plan --config FILE")
		if refusal != nil {
			h.refusals.Log(r, refusal, "change", "plan")
			refusal.SetHeader(w.Header())
			text(w, refusal.Status, refusal.Text+"\n")
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
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(changeTime + answerTime)) // a connection that knows no deadlines has none to prolong
	switch p, err := h.plan(ctx, files); {
	case errors.Is(err, api.ErrStopping):
		text(w, http.StatusServiceUnavailable, err.Error()+"\n")
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

package balancer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/listen"
)

// reloadOrder asks for a reload and for what came of it. The zero value is that of SIGHUP.
type reloadOrder struct {
	force  bool       // also when the config takes away more than half of what runs
	who    string     // asks; "" is SIGHUP
	answer chan error // has room for one; nil: nobody waits
}

// askReload has the balancer reload, and waits until it has.
func (b *Balancer) askReload(ctx context.Context, o reloadOrder) error {
	o.answer = make(chan error, 1)
	select {
	case b.orders <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.answer:
		return err
	case <-b.engine.done:
		return api.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changeConfig answers POST /reload.
func (h handler) changeConfig(w http.ResponseWriter, r *http.Request) {
	r, refusal := h.admit(r, "lb ctl reload")
	if refusal != nil {
		h.refusals.Log(r, refusal, "change", "reload")
		refusal.SetHeader(w.Header())
		text(w, refusal.Status, refusal.Text+"\n")
		return
	}
	force := r.URL.Query().Get("force")
	if force != "" && force != "true" {
		text(w, http.StatusBadRequest, "force is true or left out\n")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	deadlines := http.NewResponseController(w) // a connection that knows no deadlines has none to prolong
	_ = deadlines.SetReadDeadline(time.Now().Add(changeTime))
	_ = deadlines.SetWriteDeadline(time.Now().Add(changeTime + answerTime))
	switch err := h.reload(ctx, reloadOrder{force: force != "", who: listen.Peer(r)}); {
	case errors.Is(err, api.ErrStopping):
		text(w, http.StatusServiceUnavailable, err.Error()+"\n")
	case err != nil:
		text(w, http.StatusConflict, strings.ReplaceAll(err.Error(), "\n", "; ")+"\n")
	default:
		text(w, http.StatusOK, "reloaded\n")
	}
}

package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/recordstore"
	"github.com/braintree/lb/netx/sanitize"
)

// changeDrain serves /cluster/NAME/drain/ADDRESS and, without a cluster, /drain/ADDRESS: POST drains, DELETE resumes.
func (h handler) changeDrain(w http.ResponseWriter, r *http.Request, cluster, address string) {
	change, do, verb := api.Drained, h.Drains.Drain, "drain"
	switch r.Method {
	case http.MethodPost:
	case http.MethodDelete:
		change, do, verb = api.Undrained, h.Drains.Resume, "undrain"
	default:
		notFound(w)
		return
	}
	r, refusal := h.admit(r, "lb ctl "+verb)
	if refusal != nil {
		h.refuse(w, r, refusal, "cluster", cluster, "node", sanitize.Line(address, 50), "change", verb)
		return
	}
	o, status, err := drainOrder(r, cluster, address)
	if err != nil {
		text(w, status, err.Error()+"\n")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), drainTime)
	defer cancel()
	done, err := do(ctx, o)
	unrecorded, incomplete := (*api.UnrecordedError)(nil), (*api.IncompleteError)(nil)
	errors.As(err, &unrecorded)
	errors.As(err, &incomplete)
	if err != nil && unrecorded == nil && incomplete == nil {
		failure(w, drainFailure(err), err)
		return
	}
	answer, status := api.DrainChange{Change: change, Drains: done}, http.StatusOK
	if unrecorded != nil {
		answer.AuditError = unrecorded.Err.Error()
	}
	if incomplete != nil {
		answer.Error, status = oneLine(incomplete), http.StatusInternalServerError
	}
	if wantsJSON(r) {
		answerJSONWith(w, status, answer)
		return
	}
	text(w, status, answer.String())
}

// drainOrder reads the order from a request. An error comes with its status.
func drainOrder(r *http.Request, cluster, address string) (api.DrainOrder, int, error) {
	o := api.DrainOrder{Cluster: cluster, Peer: listen.Peer(r)}
	var err error
	if o.Node, err = netip.ParseAddr(address); err != nil {
		return o, http.StatusBadRequest, errors.New(
			strconv.Quote(sanitize.Line(address, 50)) + " is not the address of a node: give one such as 10.0.0.1",
		)
	}
	if err := listen.ParseForm(r); err != nil {
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			return o, http.StatusRequestEntityTooLarge, errors.New("the request body is too large")
		}
		return o, http.StatusBadRequest, errors.New("cannot read the parameters: " + sanitize.Line(err.Error(), 200))
	}
	o.Reason = sanitize.Line(listen.Param(r, "reason"), recordstore.MaxReason)
	o.Who = cmp.Or(sanitize.Line(listen.Param(r, "who"), recordstore.MaxWho), o.Peer)
	if force := listen.Param(r, "force"); force != "" {
		if o.Force, err = strconv.ParseBool(force); err != nil {
			return o, http.StatusBadRequest, errors.New("force must be true or false")
		}
	}
	if text := listen.Param(r, "for"); text != "" {
		if o.For, err = recordstore.ParseDuration(text); err != nil {
			return o, http.StatusBadRequest, err
		}
	}
	return o, http.StatusOK, nil
}

// drainFailure is the status for the error that an order ended with.
func drainFailure(err error) int {
	var (
		noCluster  *api.NoClusterError
		noNode     *api.NoNodeError
		notDrained *api.NotDrainedError
		tooFew     *api.TooFewError
		invalid    *api.InvalidError
	)
	switch {
	case errors.As(err, &noCluster), errors.As(err, &noNode), errors.As(err, &notDrained):
		return http.StatusNotFound
	case errors.As(err, &tooFew):
		return http.StatusConflict
	case errors.As(err, &invalid):
		return http.StatusBadRequest
	case errors.Is(err, api.ErrStopping):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// listDrains serves GET /drains.
func (h handler) listDrains(w http.ResponseWriter, r *http.Request) {
	if !isRead(r) {
		notFound(w)
		return
	}
	all := h.Drains.Drains(r.Context())
	if wantsJSON(r) {
		answerJSON(w, all)
		return
	}
	var b strings.Builder
	for _, d := range all {
		b.WriteString(d.Cluster + " " + d.Node + " by " + d.Who + ": " + d.Reason + "\n")
	}
	text(w, http.StatusOK, b.String())
}

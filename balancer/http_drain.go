package balancer

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/netx/audit"
	"github.com/braintree/lb/netx/listen"
	"github.com/braintree/lb/netx/sanitize"
)

// drains is what the handler needs of the engine to drain nodes.
type drains interface {
	Drain(ctx context.Context, o api.DrainOrder) ([]drain.Drain, error)
	Undrain(ctx context.Context, o api.DrainOrder) ([]drain.Drain, error)
	Drains(ctx context.Context) []api.DrainReport
}

func drainStatus(d drain.Drain) *api.DrainStatus {
	s := &api.DrainStatus{Reason: d.Reason, Who: d.Who, At: d.At.UTC(), Expires: d.Expires}
	if !d.Expires.IsZero() {
		s.Expires = d.Expires.UTC()
	}
	return s
}

// Drains lists all drains, by cluster and address.
func (e *engine) Drains(ctx context.Context) []api.DrainReport {
	return reports(e.Status(ctx), e.drains.All())
}

// reports joins drains with what is known about their nodes.
func reports(s api.Status, all []drain.Drain) []api.DrainReport {
	list := make([]api.DrainReport, 0, len(all))
	for _, d := range all {
		r := api.DrainReport{Cluster: d.Cluster, Node: d.Node.String(), DrainStatus: *drainStatus(d), Stale: true}
		for _, c := range s.Clusters {
			i := slices.IndexFunc(c.Nodes, func(n api.NodeStatus) bool { return n.Address == r.Node && n.State != "leaving" })
			if c.Name == d.Cluster && i >= 0 {
				r.Stale, r.ActiveConns = false, c.Nodes[i].ActiveConns
			}
		}
		list = append(list, r)
	}
	return list
}

// drained answers /cluster/NAME/drain/ADDRESS and, with no cluster, /drain/ADDRESS: POST drains, DELETE ends it.
func (h handler) drained(w http.ResponseWriter, r *http.Request, cluster, address string) {
	change, do, verb := audit.Drained, h.drains.Drain, "drain"
	switch r.Method {
	case http.MethodPost:
	case http.MethodDelete:
		change, do, verb = audit.Undrained, h.drains.Undrain, "undrain"
	default:
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	r, refusal := h.admit(r, "lb ctl "+verb)
	if refusal != nil {
		h.refusals.Log(r, refusal, "cluster", cluster, "node", sanitize.Line(address, 50), "change", verb)
		refusal.SetHeader(w.Header())
		text(w, refusal.Status, refusal.Text+"\n")
		return
	}
	o, status, err := drainOrder(r, cluster, address)
	if err != nil {
		text(w, status, err.Error()+"\n")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime/2)
	defer cancel()
	done, err := do(ctx, o)
	unrecorded := (*api.UnrecordedError)(nil)
	if err != nil && !errors.As(err, &unrecorded) {
		text(w, drainFailure(err), strings.ReplaceAll(err.Error(), "\n", "; ")+"\n")
		return
	}
	answer := api.DrainChange{Change: change, Drains: reports(h.clusters.Status(r.Context()), done)}
	if unrecorded != nil {
		answer.AuditError = unrecorded.Err.Error()
	}
	if wantsJSON(r) {
		answerJSON(w, answer)
		return
	}
	text(w, http.StatusOK, answer.String())
}

// drainOrder reads what is asked for. An error comes with its status.
func drainOrder(r *http.Request, cluster, address string) (api.DrainOrder, int, error) {
	o := api.DrainOrder{Cluster: cluster, Peer: listen.Peer(r)}
	var err error
	if o.Node, err = netip.ParseAddr(address); err != nil {
		return o, http.StatusBadRequest, errors.New(strconv.Quote(sanitize.Line(address, 50)) + " is not the address of a node, such as 10.0.0.1")
	}
	if err := listen.ParseForm(r); err != nil {
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			return o, http.StatusRequestEntityTooLarge, errors.New("the request has a body that is too large")
		}
		return o, http.StatusBadRequest, errors.New("the parameters cannot be read: " + sanitize.Line(err.Error(), 200))
	}
	o.Reason = sanitize.Line(listen.Param(r, "reason"), 500)
	o.Who = cmp.Or(sanitize.Line(listen.Param(r, "who"), 100), o.Peer)
	if force := listen.Param(r, "force"); force != "" {
		if o.Force, err = strconv.ParseBool(force); err != nil {
			return o, http.StatusBadRequest, errors.New("force must be true or false")
		}
	}
	if text := listen.Param(r, "for"); text != "" {
		if o.For, err = drain.ParseDuration(text); err != nil {
			return o, http.StatusBadRequest, err
		}
	}
	return o, http.StatusOK, nil
}

// drainFailure is the status for what went wrong.
func drainFailure(err error) int {
	var (
		noCluster  *api.NoClusterError
		noNode     *api.NoNodeError
		notDrained *api.NotDrainedError
		tooFew     *api.TooFewError
	)
	switch {
	case errors.As(err, &noCluster), errors.As(err, &noNode), errors.As(err, &notDrained):
		return http.StatusNotFound
	case errors.As(err, &tooFew):
		return http.StatusConflict
	case errors.Is(err, drain.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, api.ErrStopping):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// listDrains answers GET /drains.
func (h handler) listDrains(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	all := h.drains.Drains(r.Context())
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

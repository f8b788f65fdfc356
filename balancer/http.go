package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// clusters is what the handler needs of the engine.
type clusters interface {
	Status(ctx context.Context) api.Status
	Start(ctx context.Context, name, who string) (changed bool, err error)
	Stop(ctx context.Context, name, who string) (changed bool, err error)
}

// handler speaks HTTP as big_brother 0.9.12 does, and JSON to those who ask for it.
type handler struct {
	clusters clusters
	drains   drains
	version  string
	refusals *listen.RefusalLog
	admit    listen.AuthorizeFunc // who may change something
	metrics  http.Handler
	events   *journal.Journal
	streams  chan struct{}   // has room for as many streams as there may be
	serving  context.Context // ends the streams
	reload   func(context.Context, reloadOrder) error
	plan     func(context.Context, []config.File) (api.Plan, error)
}

// ServeHTTP answers one request. Paths and methods that big_brother does not know are 404, as there.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, mostBody(r))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := r.URL.Path
	for strings.HasPrefix(path, "//") {
		path = path[1:]
	}
	if path == "/" {
		h.list(w, r)
		return
	}
	if number, ok := strings.CutPrefix(path, "/fwmark/"); ok {
		h.fwmark(w, r, number)
		return
	}
	if path == "/metrics" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		h.metrics.ServeHTTP(w, r)
		return
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/reload" && r.Method == http.MethodPost:
		h.changeConfig(w, r)
		return
	case path == "/plan":
		h.planPage(w, r)
		return
	case path == "/events":
		h.eventsPage(w, r)
		return
	case path == "/drains":
		h.listDrains(w, r)
		return
	case len(parts) == 2 && parts[0] == "drain":
		h.drained(w, r, "", parts[1])
		return
	}
	if len(parts) < 2 || parts[0] != "cluster" || parts[1] == "" {
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	name, rest := parts[1], strings.Join(parts[2:], "/")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case len(parts) == 4 && parts[2] == "drain":
		h.drained(w, r, name, parts[3])
	case len(parts) == 2 && (r.Method == http.MethodPut || r.Method == http.MethodDelete):
		h.change(w, r, name)
	case reads && (len(parts) == 2 || rest == "status"):
		h.status(w, r, name)
	case reads && rest == "status_detail":
		h.detail(w, r, name)
	default:
		if _, known := h.find(r, name); !known {
			text(w, http.StatusNotFound, (&api.NoClusterError{Name: name}).Error())
			return
		}
		text(w, http.StatusNotFound, "Not Found")
	}
}

func (h handler) find(r *http.Request, name string) (api.ClusterStatus, bool) {
	for _, c := range h.clusters.Status(r.Context()).Clusters {
		if c.Name == name {
			return c, true
		}
	}
	return api.ClusterStatus{}, false
}

// list answers GET /: the clusters that run, and those that do not.
func (h handler) list(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	all := h.clusters.Status(r.Context())
	all.Version = h.version
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
	// The first words are big_brother's, for who looks for them.
	text(w, http.StatusOK, fmt.Sprintf("Big Brother: lb %s\n\nRunning:\n%s\nStopped:\n%s\n", h.version, running.String(), stopped.String()))
}

// status answers GET /cluster/NAME and GET /cluster/NAME/status.
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

// detail answers GET /cluster/NAME/status_detail, byte for byte as big_brother does: the weights are the kernel's.
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
		if n.State != "leaving" && n.Site == "" {
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

// change answers PUT and DELETE /cluster/NAME: start and stop.
func (h handler) change(w http.ResponseWriter, r *http.Request, name string) {
	verb, do := "start", h.clusters.Start
	if r.Method == http.MethodDelete {
		verb, do = "stop", h.clusters.Stop
	}
	r, refusal := h.admit(r, "lb ctl cluster "+verb+" "+name)
	if refusal != nil {
		h.refusals.Log(r, refusal, "cluster", name, "change", verb)
		refusal.SetHeader(w.Header())
		text(w, refusal.Status, refusal.Text+"\n")
		return
	}
	// There is nothing in the body, but before the deadlines are prolonged it has to have come.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.Header().Set("Connection", "close")
		text(w, http.StatusRequestEntityTooLarge, "the request has a body that is too large, or that did not come: send none\n")
		return
	}
	ctx := r.Context()
	if r.Method == http.MethodDelete {
		// A stop that was read is carried out, also when nobody waits for the answer any more: a cluster manager that gave up
		// on it has taken the service out by itself, and without the stop it would come back as repaired drift.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	deadlines := http.NewResponseController(w) // a connection that knows no deadlines has none to prolong
	_ = deadlines.SetReadDeadline(time.Now().Add(changeTime))
	_ = deadlines.SetWriteDeadline(time.Now().Add(changeTime + answerTime))
	changed, err := do(ctx, name, listen.Peer(r))
	var unknown *api.NoClusterError
	switch {
	case errors.As(err, &unknown):
		text(w, http.StatusNotFound, err.Error())
	case errors.Is(err, api.ErrStopping):
		text(w, http.StatusServiceUnavailable, err.Error()+"\n")
	case err != nil:
		text(w, http.StatusInternalServerError, err.Error()+"\n")
	case changed:
		text(w, http.StatusOK, "OK")
	default:
		w.WriteHeader(http.StatusNotModified)
	}
}

func wantsJSON(r *http.Request) bool { return listen.AcceptQuality(r, "application/json") > 0 }

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // who does not read the answer does not want it
}

func answerJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}

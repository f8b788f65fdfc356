package agent

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/listen"
)

// way is how a request came in.
type way int

const (
	overTCP    way = iota // reads; changes by token, client certificate, or agent.trust_loopback
	overSocket            // reads; changes by the peer's credentials
)

const (
	notFound = "NOT FOUND"

	unknownPath = notFound + `
lb agent answers
  GET /                      all services
  GET /SERVICE/status        one service
  GET /SERVICE/watch         the same as a stream of events
  GET /SERVICE/metrics       its figures
  GET /metrics               all figures, for Prometheus
and on its control socket
  POST, DELETE /SERVICE/down|up|health
  POST, DELETE /down|up|health             of all services
`
)

// handler answers requests that come in one way. It routes by itself: http.ServeMux would redirect paths such as //webapp/status,
// which litmus_paper answers and health checkers do not follow.
func (a *Agent) handler(over way) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		}
		// What stands before a slash, and behind it where there is one; a second slash is part of page, and so of no page there is.
		name, page, two := strings.Cut(strings.TrimLeft(r.URL.Path, "/"), "/")
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		// A client with an empty variable for the service asks for //down. That must not force every service.
		changes := (r.Method == http.MethodPost || r.Method == http.MethodDelete) && !strings.HasPrefix(r.URL.Path, "//")
		switch {
		case reads && !two && name == "":
			a.answerList(a.counted(w, "list"), r)
		case reads && two && page == "status":
			a.answerStatus(a.counted(w, "status"), r, name)
		case reads && two && page == "metrics":
			a.answerMetrics(a.counted(w, "service_metrics"), name)
		case reads && two && page == "watch":
			a.answerWatch(a.counted(w, "watch"), r, over, name)
		case reads && !two && name == "metrics":
			a.scrape.page.ServeHTTP(a.counted(w, "metrics"), r)
		case changes && !two && score.Kind(name).Valid():
			a.change(a.counted(w, "force"), r, over, "", score.Kind(name))
		case changes && two && name != "" && score.Kind(page).Valid():
			a.change(a.counted(w, "force"), r, over, name, score.Kind(page))
		default:
			answer(a.counted(w, "other"), http.StatusNotFound, unknownPath)
		}
	})
}

func (a *Agent) answerList(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	var views []view
	for _, s := range a.current.Load().services {
		views = append(views, a.look(s, now))
	}
	if !wantsJSON(r) {
		answer(w, http.StatusOK, tableText(a.opts.Version, views))
		return
	}
	report := Report{Version: a.opts.Version, Services: make([]ServiceReport, len(views))}
	for i, v := range views {
		report.Services[i] = v.report(now)
	}
	answerJSON(w, http.StatusOK, report)
}

func (a *Agent) answerMetrics(w http.ResponseWriter, name string) {
	s, ok := a.current.Load().byName[name]
	if !ok {
		answer(w, http.StatusNotFound, notFound)
		return
	}
	answer(w, http.StatusOK, a.look(s, time.Now()).metricsText())
}

// wantsJSON tells whether the client asks for JSON by name. What takes anything gets text, as from litmus_paper.
func wantsJSON(r *http.Request) bool { return listen.AcceptQuality(r, "application/json") > 0 }

func answer(w http.ResponseWriter, status int, body string) {
	send(w, status, plainText, []byte(body))
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a report always encodes; a NaN in a later one must not look like a healthy answer
		answer(w, http.StatusInternalServerError, "encode the answer: "+err.Error()+"\n")
		return
	}
	send(w, status, inJSON, append(body, '\n'))
}

// Headers that every answer has, ready to be put into one: Header.Set would make each value anew, which is much of what an answer costs.
// Nobody may write into them.
var (
	plainText = []string{"text/plain; charset=utf-8"}
	inJSON    = []string{"application/json"}
	noSniff   = []string{"nosniff"}
	noStore   = []string{"no-store"}
)

// entity sets what every answer with a body has in its header.
func entity(h http.Header, contentType []string, body []byte) {
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
}

func send(w http.ResponseWriter, status int, contentType []string, body []byte) {
	entity(w.Header(), contentType, body)
	w.WriteHeader(status)
	w.Write(body) // a client that went away is not our concern
}

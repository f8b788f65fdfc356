package server

import (
	"net/http"
	"strings"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/service"
)

const (
	notFound = "NOT FOUND"

	unknownPath = notFound + `
lb agent serves
  GET /                      all services
  GET /SERVICE/status        one service
  GET /SERVICE/watch         one service as a stream of events
  GET /SERVICE/metrics       raw values of its checks
  GET /metrics               metrics for Prometheus
and on its control socket
  POST, DELETE /SERVICE/down|up|health
  POST, DELETE /down|up|health             every service
`
)

// Handler routes the requests of a transport. It does not use http.ServeMux, which redirects paths such as
// //webapp/status: litmus_paper answers them, and health checkers do not follow redirects.
func (s *Server) Handler(over Transport) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		}
		// A second slash becomes part of page and so matches no page.
		name, page, two := strings.Cut(strings.TrimLeft(r.URL.Path, "/"), "/")
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		// A client with an empty variable for the service requests //down. That must not force every service.
		changes := (r.Method == http.MethodPost || r.Method == http.MethodDelete) && !strings.HasPrefix(r.URL.Path, "//")
		switch {
		case reads && !two && name == "":
			s.answerList(s.counted(w, "list"), r)
		case reads && two && page == "status":
			s.answerStatus(s.counted(w, "status"), r, name)
		case reads && two && page == "metrics":
			s.answerMetrics(s.counted(w, "service_metrics"), name)
		case reads && two && page == "watch":
			s.answerWatch(s.counted(w, "watch"), r, over, name)
		case reads && !two && name == "metrics":
			s.metrics.page.ServeHTTP(s.counted(w, "metrics"), r)
		case changes && !two && score.Kind(name).Valid():
			s.change(s.counted(w, "force"), r, over, "", score.Kind(name))
		case changes && two && name != "" && score.Kind(page).Valid():
			s.change(s.counted(w, "force"), r, over, name, score.Kind(page))
		default:
			answer(s.counted(w, "other"), http.StatusNotFound, unknownPath)
		}
	})
}

func (s *Server) answerList(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	var views []service.View
	for _, svc := range s.opts.Services.Current().Services {
		views = append(views, s.opts.Services.View(svc, now))
	}
	if !wantsJSON(r) {
		answer(w, http.StatusOK, tableText(s.opts.Version, views)+tunnelText(s.tunnel()))
		return
	}
	list := api.Report{Version: s.opts.Version, Services: make([]api.Service, len(views)), Tunnel: s.tunnel()}
	for i, v := range views {
		list.Services[i] = report(v, now)
	}
	answerJSON(w, http.StatusOK, list)
}

func (s *Server) answerMetrics(w http.ResponseWriter, name string) {
	v, ok := s.opts.Services.Find(name, time.Now())
	if !ok {
		answer(w, http.StatusNotFound, notFound)
		return
	}
	answer(w, http.StatusOK, metricsText(v))
}

// Package server serves lb balance over HTTP: as big_brother 0.9.12 does, in JSON for programs, and as a page for browsers.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// Clusters reads, starts and stops clusters. Start and Stop return false if the cluster was in that state already.
type Clusters interface {
	Status(ctx context.Context) api.Status
	Start(ctx context.Context, name, who string) (changed bool, err error)
	Stop(ctx context.Context, name, who string) (changed bool, err error)
}

// Drains drains nodes and resumes them. An error returned together with reports is an *api.UnrecordedError or an *api.IncompleteError, or
// both: the change was made.
type Drains interface {
	Drain(ctx context.Context, o api.DrainOrder) ([]api.DrainReport, error)
	Resume(ctx context.Context, o api.DrainOrder) ([]api.DrainReport, error)
	Drains(ctx context.Context) []api.DrainReport
}

// Configuration plans and carries out reloads.
type Configuration interface {
	// Plan describes what a reload with these files would change; with nil, what the next reconcile would.
	Plan(ctx context.Context, files []config.File) (api.Plan, error)
	// Reload returns warnings about what a reload cannot put into effect. With an *api.IncompleteError the configuration is in effect.
	Reload(ctx context.Context, r api.Reload) (warnings []string, err error)
}

// Options are what a Server works with.
type Options struct {
	Clusters      Clusters
	Drains        Drains
	Configuration Configuration
	Journal       *journal.Journal
	Hooks         func() map[string]journal.Deliveries // of each hook, for /metrics
	Collectors    []prometheus.Collector               // further metrics
	AdmitTCP      listen.AuthorizeFunc                 // decides who may change something over TCP
	AdmitSocket   listen.AuthorizeFunc                 // the same for the Unix socket
	Version       string                               // of lb
	Log           *slog.Logger
}

// Server serves the TCP listener and the control socket of a balancer.
type Server struct {
	tcp, socket handler
	log         *slog.Logger
	servers     []*http.Server
	stopStreams context.CancelFunc
}

// New returns a server. It starts nothing.
func New(o Options) *Server {
	s := &Server{log: o.Log}
	serving, stop := context.WithCancel(context.Background())
	s.stopStreams = stop
	h := handler{Options: o, refusals: listen.NewRefusalLog(o.Log), serving: serving}
	s.tcp, s.socket = h, h
	s.tcp.admit, s.socket.admit = o.AdmitTCP, o.AdmitSocket
	s.tcp.streams, s.socket.streams = make(chan struct{}, maxStreams), make(chan struct{}, maxSocketStreams)
	metrics := newMetrics(o, func() int { return len(s.tcp.streams) + len(s.socket.streams) })
	s.tcp.metrics, s.socket.metrics = metrics, metrics
	for _, h := range []handler{s.tcp, s.socket} {
		s.servers = append(s.servers, listen.NewServer(h, o.Log, answerTime, keepAlive))
	}
	return s
}

// Serve serves both listeners until Shutdown, and returns the error of a listener that fails earlier.
func (s *Server) Serve(tcp, socket net.Listener) error {
	failed := make([]error, len(s.servers))
	var serving sync.WaitGroup
	for i, l := range []net.Listener{tcp, socket} {
		serving.Go(func() {
			if err := s.servers[i].Serve(listen.Limit(l, MaxConns)); !errors.Is(err, http.ErrServerClosed) {
				failed[i] = fmt.Errorf("serve on %s: %w", l.Addr(), err)
				s.Shutdown()
			}
		})
	}
	serving.Wait()
	return errors.Join(failed...)
}

// TCP is the handler of the TCP listener.
func (s *Server) TCP() http.Handler { return s.tcp }

// Shutdown ends both servers. Requests in progress have shutdownTime to finish; streams end at once.
func (s *Server) Shutdown() {
	s.stopStreams()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var ending sync.WaitGroup
	for _, server := range s.servers {
		ending.Go(func() {
			if server.Shutdown(ctx) != nil {
				_ = server.Close() // whatever is still open has had its time
			}
		})
	}
	ending.Wait()
}

// handler serves the requests of one listener.
type handler struct {
	Options
	admit    listen.AuthorizeFunc
	refusals *listen.RefusalLog
	metrics  http.Handler
	streams  chan struct{}   // a slot for each open stream
	serving  context.Context // its end ends the streams
}

// ServeHTTP serves one request. Unknown paths and methods get 404, as with big_brother.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody(r))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := r.URL.Path
	for strings.HasPrefix(path, "//") {
		path = path[1:]
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/":
		h.list(w, r)
	case strings.HasPrefix(path, "/fwmark/"):
		h.fwmark(w, r, strings.TrimPrefix(path, "/fwmark/"))
	case path == "/metrics" && isRead(r):
		h.metrics.ServeHTTP(w, r)
	case path == "/reload" && r.Method == http.MethodPost:
		h.reload(w, r)
	case path == "/plan":
		h.plan(w, r)
	case path == "/events":
		h.events(w, r)
	case path == "/drains":
		h.listDrains(w, r)
	case len(parts) == 2 && parts[0] == "drain":
		h.changeDrain(w, r, "", parts[1])
	case len(parts) >= 2 && parts[0] == "cluster" && parts[1] != "":
		h.cluster(w, r, parts[1], parts[2:])
	default:
		notFound(w)
	}
}

// cluster serves the paths below /cluster/NAME.
func (h handler) cluster(w http.ResponseWriter, r *http.Request, name string, rest []string) {
	below := strings.Join(rest, "/")
	switch {
	case len(rest) == 2 && rest[0] == "drain":
		h.changeDrain(w, r, name, rest[1])
	case len(rest) == 0 && (r.Method == http.MethodPut || r.Method == http.MethodDelete):
		h.change(w, r, name)
	case isRead(r) && (len(rest) == 0 || below == "status"):
		h.status(w, r, name)
	case isRead(r) && below == "status_detail":
		h.detail(w, r, name)
	default:
		if _, known := h.find(r, name); !known {
			text(w, http.StatusNotFound, (&api.NoClusterError{Name: name}).Error())
			return
		}
		notFound(w)
	}
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// refuse rejects an unauthorised change. details are attributes for the log.
func (h handler) refuse(w http.ResponseWriter, r *http.Request, refusal *listen.Refusal, details ...any) {
	h.refusals.Log(r, refusal, details...)
	refusal.SetHeader(w.Header())
	text(w, refusal.Status, refusal.Text+"\n")
}

// prolong sets the deadlines of a change. It ignores connections without deadlines.
func prolong(w http.ResponseWriter) {
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Now().Add(changeTime))
	_ = deadlines.SetWriteDeadline(time.Now().Add(changeTime + answerTime))
}

func wantsJSON(r *http.Request) bool { return listen.AcceptQuality(r, "application/json") > 0 }

func notFound(w http.ResponseWriter) { text(w, http.StatusNotFound, "Not Found") }

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client may have disconnected
}

// failure responds with the error of an order.
func failure(w http.ResponseWriter, status int, err error) {
	text(w, status, oneLine(err)+"\n")
}

// oneLine is the text of an error in one line; "" for nil.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

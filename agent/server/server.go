// Package server serves the agent over HTTP: health as text, JSON and streams, metrics, and changes of forces.
package server

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/agent/stream"
	"github.com/braintree/lb/netx/listen"
)

// Limits on what clients can use, in addition to those of package listen.
const (
	MaxReaders  = 2048 // connections over TCP at a time; more wait to be accepted
	MaxChangers = 64   // the same for the Unix socket

	// Streams at a time. Both leave half of the listener's connections to requests.
	maxStreams       = MaxReaders / 2
	maxSocketStreams = MaxChangers / 2

	// writeTimeout is longer than the server waits for a request, so that a request that came in half still gets an answer.
	writeTimeout = 15 * time.Second
	idleTimeout  = 2 * time.Minute // longer than any sensible check interval, so that balancers keep their connections
	maxBodyBytes = listen.MaxBody
)

// Transport is how a request came in.
type Transport int

// The transports.
const (
	TCP    Transport = iota // reads; changes by token, client certificate, or agent.trust_loopback
	Socket                  // reads; changes by the peer's credentials
)

// Options are what a server needs.
type Options struct {
	Services *service.Registry
	Streams  *stream.Hub
	Changes  *force.Changes
	Guard    *listen.Authorizer // decides who may change something
	Log      *slog.Logger
	Version  string // shown on the first line of GET /

	Tunnel func() *api.Tunnel // the state of this machine's tunnel, nil: none is watched; nil: the same
}

// Server serves requests from the latest results. Any goroutine may use it.
type Server struct {
	opts     Options
	refusals *listen.RefusalLog
	metrics  *metrics
	quotas   [2]stream.Quota // by Transport
	pages    atomic.Pointer[pages]
}

// New returns a server for the current services.
func New(o Options) *Server {
	s := &Server{opts: o, refusals: listen.NewRefusalLog(o.Log)}
	s.quotas[TCP].Max, s.quotas[Socket].Max = maxStreams, maxSocketStreams
	s.metrics = newMetrics(o)
	s.Use(o.Services.Current())
	return s
}

// Use discards the cached pages and serves the services of a set. Call it after Registry.Replace.
func (s *Server) Use(set *service.Set) { s.pages.Store(newPages(set)) }

// HTTP makes the net/http server of a transport.
func (s *Server) HTTP(over Transport) *http.Server {
	return listen.NewServer(s.Handler(over), s.opts.Log, writeTimeout, idleTimeout)
}

// admit decides about changes over a transport.
func (s *Server) admit(over Transport) listen.AuthorizeFunc {
	if over == Socket {
		return s.opts.Guard.AuthorizeSocket
	}
	return s.opts.Guard.AuthorizeTCP
}

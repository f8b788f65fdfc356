package server

import (
	"net/http"
	"time"

	"github.com/braintree/lb/netx/listen"
)

// Limits on clients, in addition to those of package listen.
const (
	// MaxConns bounds the open connections of each listener; further ones wait.
	MaxConns = 256

	maxStreams       = 64 // of events over TCP; the remaining connections are for requests
	maxSocketStreams = 64
	maxEvents        = 1000    // in one answer
	maxScrapes       = 4       // pages for Prometheus made at the same time; further ones get 503
	maxPlanBody      = 4 << 20 // bytes of a configuration to plan: room for twenty thousand nodes

	answerTime   = 30 * time.Second // for an answer that changes nothing
	changeTime   = 2 * time.Minute  // for a start, which waits for the first readings, and for a stop or reload
	drainTime    = answerTime / 2
	scrapeTime   = time.Second // after that a page for Prometheus shows the latest known state
	shutdownTime = 3 * time.Second
	keepAlive    = time.Minute
)

// maxBody is how many bytes of a request's body are read.
func maxBody(r *http.Request) int64 {
	if r.URL.Path == "/plan" {
		return maxPlanBody
	}
	return listen.MaxBody
}

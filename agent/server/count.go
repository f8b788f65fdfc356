package server

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// requestCounts counts responses. It caches the counters, because a lookup by labels costs as much as the response.
type requestCounts struct {
	*prometheus.CounterVec
	mu    sync.RWMutex
	known map[requestKind]prometheus.Counter // one for each page and status
}

type requestKind struct {
	page   string
	status int
}

func (c *requestCounts) of(k requestKind) prometheus.Counter {
	c.mu.RLock()
	counter := c.known[k]
	c.mu.RUnlock()
	if counter != nil {
		return counter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[k] = c.WithLabelValues(k.page, strconv.Itoa(k.status))
	return c.known[k]
}

// counted is a response writer that counts its answer once the status is written.
type counted struct {
	http.ResponseWriter
	requests *requestCounts
	page     string // "" once counted
}

func (s *Server) counted(w http.ResponseWriter, page string) *counted {
	return &counted{w, &s.metrics.requests, page}
}

// WriteHeader counts the answer.
func (c *counted) WriteHeader(status int) {
	if c.page != "" && status >= http.StatusOK {
		c.requests.of(requestKind{c.page, status}).Inc()
		c.page = ""
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts an answer without an explicit status.
func (c *counted) Write(p []byte) (int, error) {
	if c.page != "" {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

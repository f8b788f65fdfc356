package agent

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/braintree/lb/netx/listen"
)

// Bounds of what clients may take up, beside those of package listen.
const (
	maxReaders  = 2048 // connections over TCP at one time; further ones wait to be accepted
	maxChangers = 64   // the same over the Unix socket

	writeTime    = 10 * time.Second
	idleTime     = 2 * time.Minute // longer than any sensible check interval, so that balancers keep their connections
	maxBodyBytes = listen.MaxBody
)

// listener is the agent in the words of errors.
func listener() listen.Daemon { return listen.Daemon{Name: "agent", Section: "agent"} }

// newServer makes the server for one of the two ways in.
func (a *Agent) newServer(over way) *http.Server {
	s := listen.Server(a.handler(over), a.log, writeTime, idleTime)
	connContext := s.ConnContext
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		leaveTheDead(c)
		return connContext(ctx, c)
	}
	return s
}

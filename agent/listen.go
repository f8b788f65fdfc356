package agent

import (
	"context"
	"net/http"
	"time"

	"github.com/braintree/lb/config"
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
	return listen.NewServer(a.handler(over), a.log, writeTime, idleTime)
}

// bindControl binds the socket for changes, and reads what those who make them are known by.
func (a *Agent) bindControl(ctx context.Context, cfg config.Agent) error {
	keys, err := a.daemon().LoadPolicy(cfg.Access)
	if err != nil {
		return err
	}
	if a.control, err = a.daemon().ListenControl(ctx, cfg.Control, keys); err != nil {
		return err
	}
	a.guard = a.daemon().NewAuthorizer(a.control.Addr().String(), keys)
	return nil
}

// admit is what decides about changes that come in one way.
func (a *Agent) admit(over way) listen.AuthorizeFunc {
	if over == overSocket {
		return a.guard.AuthorizeSocket
	}
	return a.guard.AuthorizeTCP
}

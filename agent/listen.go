package agent

import (
	"context"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// daemon is the agent as package listen names it in errors, with the sockets of the service manager.
func (a *Agent) daemon() listen.Daemon {
	return listen.Daemon{Name: "agent", Section: "agent", Sockets: a.opts.Sockets}
}

// bindControl binds the control socket, and loads the keys of those who may make changes.
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

// closeUnusedSockets closes the service manager's sockets that the configuration has no use for.
func (a *Agent) closeUnusedSockets() {
	for _, key := range a.opts.Sockets.Unclaimed() {
		a.log.Warn("unused socket from the service manager: its FileDescriptorName= is not the key of a configured address", "name", key)
	}
	if err := a.opts.Sockets.Close(); err != nil {
		a.log.Warn("cannot close a socket from the service manager", "err", err)
	}
}

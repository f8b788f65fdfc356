package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/braintree/lb/agent/fastpath"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/netx/listen"
)

// Run runs checks and serves requests until ctx ends or a listener fails. It then stops in reverse order: listeners,
// streams and requests in progress first, checks last. The error is nil if ctx ended.
func (a *Agent) Run(ctx context.Context) error {
	// Checks continue after ctx ends, as long as requests are served from their results.
	checks, stopChecks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopChecks()
	set := a.services.Current()
	a.jobs.Start(checks, set.Jobs())
	schedule.WaitForResults(ctx, a.resultsTimeout, set.Jobs())

	a.streams.Open(a.services.Find)
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	reads, changes := a.server.HTTP(server.TCP), a.server.HTTP(server.Socket)
	fast := fastpath.New(listen.Limit(a.tcp, server.MaxReaders), a.server.FindPage, reads)
	wg.Go(fast.Serve)
	wg.Go(func() { serve(reads, a.guard.OptionalTLS(fast), failed) })
	wg.Go(func() { serve(changes, listen.Limit(a.control, server.MaxChangers), failed) })
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	wg.Go(func() { a.monitor(background) })
	if a.tunnel != nil {
		wg.Go(func() { a.tunnel.Run(background) })
	}
	wg.Go(func() { a.streams.Run(background) })
	a.firstPorts.Commit()
	a.firstPorts = nil
	a.log.Info("agent is ready", "listen", a.tcp.Addr().String(), "control", a.control.Addr().String(), "services", len(set.Services))
	if a.opts.Ready != nil {
		a.opts.Ready()
	}
	a.opts.Manager.Ready("%d services", len(set.Services))

	err := a.handleReloads(ctx, checks, failed)

	a.opts.Manager.Stopping()
	stopBackground()
	a.agentChecks.Close()
	stopping, stopped := context.WithTimeout(context.Background(), stopTimeout)
	defer stopped()
	fast.Shutdown(stopping)
	shutdown(stopping, changes, reads)
	wg.Wait()
	stopChecks()
	a.jobs.Stop(a.services.Current().Jobs())
	a.jobs.Wait()
	a.log.Info("agent has stopped")
	return err
}

// serve serves a listener until the server is shut down.
func serve(s *http.Server, l net.Listener, failed chan<- error) {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
}

// handleReloads reloads on request and notifies the watchdog, until ctx ends or a listener fails.
func (a *Agent) handleReloads(ctx, checks context.Context, failed <-chan error) error {
	ticks, stop := a.watchdogTicker()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case now := <-ticks:
			a.notifyWatchdog(now)
		case <-a.opts.Reload:
			a.reloadAndNotify(func() string { return a.reload(ctx, checks) })
		}
	}
}

// shutdown lets requests in progress finish until ctx ends.
func shutdown(ctx context.Context, servers ...*http.Server) {
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			s.Close() // disconnects the remaining clients; nothing can be done about an error
		}
	}
}

package agent

import (
	"context"
	"fmt"

	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/config"
)

// reloadAndNotify reloads and reports it to the service manager, with what is not in effect.
func (a *Agent) reloadAndNotify(reload func() string) {
	a.opts.Manager.Reloading()
	missing := reload()
	if missing != "" {
		missing = "; " + missing + ", see the log"
	}
	a.opts.Manager.Ready("%d services%s", len(a.services.Current().Services), missing)
}

// reload applies a new configuration, or changes nothing and logs why. It returns what is not in effect, "" for nothing.
// Everything that can fail comes first. New checks get their first results before they count, so that a
// reload does not take a service down.
func (a *Agent) reload(ctx, checks context.Context) string {
	refuse := func(err error) string {
		a.log.Error("reload refused, nothing has changed", "err", err)
		return "the last reload was refused"
	}
	old := a.services.Current()
	cfg, err := a.opts.Load()
	if err != nil {
		return refuse(err)
	}
	if n := len(old.Services); n > 0 && len(cfg.Services) == 0 {
		return refuse(fmt.Errorf("the new configuration has no services, the current one has %d: "+
			"the file may be truncated; if all services should go, restart the agent", n))
	}
	next, err := a.builder.Build(cfg, old)
	if err != nil {
		return refuse(err)
	}
	keys, err := a.daemon().LoadPolicy(cfg.Agent.Access)
	if err != nil {
		return refuse(err)
	}
	ports, err := a.agentChecks.Prepare(ctx, agentCheckPorts(cfg))
	if err != nil {
		return refuse(err)
	}
	added, removed := next.JobsNotIn(old), old.JobsNotIn(next)
	a.jobs.Start(checks, added)
	schedule.WaitForResults(ctx, a.resultsTimeout, added)
	a.services.Replace(next)
	a.server.Use(next)
	a.guard.SetPolicy(keys)
	ports.Commit()
	a.streams.RefreshAll()
	a.jobs.Stop(removed)
	missing := a.warnOfRestart(cfg.Agent)
	if err := a.useTunnel(ctx, cfg); err != nil {
		a.log.Error("cannot set up the tunnel", "err", err)
		missing = "the tunnel is not set up"
	}
	a.log.Info("reloaded", "services", len(next.Services), "checks_added", len(added), "checks_removed", len(removed))
	return missing
}

// warnOfRestart logs the changed settings that a reload cannot put into effect, and says whether there are any.
func (a *Agent) warnOfRestart(now config.Agent) (missing string) {
	old := a.started
	for _, s := range []struct{ key, old, now string }{
		{"agent.listen", old.Listen, now.Listen},
		{"agent.control", old.Control, now.Control},
		{"agent.control_group", old.ControlGroup, now.ControlGroup},
		{"agent.data_dir", old.DataDir, now.DataDir},
	} {
		if s.old != s.now {
			missing = "a changed setting takes effect after a restart"
			a.log.Warn("changed setting takes effect after a restart", "key", s.key, "running", s.old, "configured", s.now)
		}
	}
	return missing
}

package agent

import (
	"context"
	"fmt"

	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/config"
)

// reloadAndNotify reloads and reports it to the service manager.
func (a *Agent) reloadAndNotify(reload func() bool) {
	a.opts.Manager.Reloading()
	refused := ""
	if !reload() {
		refused = "; the last reload was refused, see the log"
	}
	a.opts.Manager.Ready("%d services%s", len(a.services.Current().Services), refused)
}

// reload applies a new configuration, or changes nothing and logs why. It reports whether it was applied.
// Everything that can fail comes first. New checks get their first results before they count, so that a
// reload does not take a service down.
func (a *Agent) reload(ctx, checks context.Context) bool {
	refuse := func(err error) bool {
		a.log.Error("reload refused, nothing has changed", "err", err)
		return false
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
	a.warnOfRestart(cfg.Agent)
	if err := a.useTunnel(ctx, cfg); err != nil {
		a.log.Error("cannot set up the tunnel", "err", err)
	}
	a.log.Info("reloaded", "services", len(next.Services), "checks_added", len(added), "checks_removed", len(removed))
	return true
}

// warnOfRestart names the changed settings that a reload cannot put into effect.
func (a *Agent) warnOfRestart(now config.Agent) {
	old := a.started
	for _, s := range []struct{ key, old, now string }{
		{"agent.listen", old.Listen, now.Listen},
		{"agent.control", old.Control, now.Control},
		{"agent.control_group", old.ControlGroup, now.ControlGroup},
		{"agent.data_dir", old.DataDir, now.DataDir},
	} {
		if s.old != s.now {
			a.log.Warn("changed setting takes effect after a restart", "key", s.key, "running", s.old, "configured", s.now)
		}
	}
}

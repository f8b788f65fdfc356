package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/config"
)

// set is a configuration with the probes that measure it. It does not change once it is made.
type set struct {
	cfg      *config.Config
	services []*service // sorted by name
	byName   map[string]*service
}

// service is what is measured for one service, in the order of the configuration, which does not change once it is made.
type service struct {
	name    string
	depends []*probe
	metrics []*probe

	page atomic.Pointer[statusPage] // the latest; nil before it is asked for
}

// probes lists all probes of all services.
func (s *set) probes() []*probe {
	var all []*probe
	for _, svc := range s.services {
		all = append(append(all, svc.depends...), svc.metrics...)
	}
	return all
}

// build makes the set for a configuration. Probes of old that the configuration asks for unchanged are kept, running and with
// their results; new ones are not started.
func (a *Agent) build(cfg *config.Config, old *set) (*set, error) {
	s := &set{cfg: cfg, byName: map[string]*service{}}
	var spare []*probe
	if old != nil {
		spare = old.probes()
	}
	var errs []error
	for _, c := range cfg.Services {
		svc := &service{name: c.Name}
		for i, d := range slices.Concat(c.Depends, c.Metrics) {
			p, err := a.probeFor(c.Name, d, i, &spare)
			if err != nil {
				errs = append(errs, fmt.Errorf("service %s: %w", c.Name, err))
				continue
			}
			if d.Role == config.Dependency {
				svc.depends = append(svc.depends, p)
			} else {
				svc.metrics = append(svc.metrics, p)
			}
		}
		s.services = append(s.services, svc)
		s.byName[c.Name] = svc
	}
	return s, errors.Join(errs...)
}

// probeFor takes a fitting probe out of spare, or makes one.
func (a *Agent) probeFor(service string, cfg config.Check, nth int, spare *[]*probe) (*probe, error) {
	i := slices.IndexFunc(*spare, func(p *probe) bool { return p.same(service, cfg) })
	if i >= 0 {
		p := (*spare)[i]
		*spare = slices.Delete(*spare, i, i+1)
		return p, nil
	}
	c, err := check.New(cfg, a.host)
	if err != nil {
		return nil, err
	}
	return newProbe(service, cfg, c, a.opts.Hostname, nth), nil
}

// reload takes a new configuration over, or changes nothing and says why. New checks have their first results before they
// count, so that a reload does not take a service out. It tells whether the configuration was taken over.
func (a *Agent) reload(ctx, checks context.Context) bool {
	refuse := func(err error) bool {
		a.log.Error("reload refused; the agent goes on as it was", "err", err)
		return false
	}
	old := a.current.Load()
	cfg, err := a.opts.Load()
	if err != nil {
		return refuse(err)
	}
	if n := len(old.services); n > 0 && len(cfg.Services) == 0 {
		return refuse(fmt.Errorf("the new configuration has no services, and the agent answers for %d, which is hardly meant: balancers would take this machine out; restart the agent if it is", n))
	}
	next, err := a.build(cfg, old)
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
	added, removed := without(next.probes(), old.probes()), without(old.probes(), next.probes())
	a.start(checks, added)
	settle(ctx, a.settleTime, added)
	a.current.Store(next)
	a.guard.SetPolicy(keys)
	ports.Commit()
	a.streams.refreshAll()
	a.await(removed)
	a.warnOfRestart(cfg.Agent)
	if err := a.setUpTunnel(ctx, cfg); err != nil {
		a.log.Error("the tunnel is not set up as configured", "err", err)
	}
	a.log.Info("reloaded", "services", len(next.services), "checks_new", len(added), "checks_gone", len(removed))
	return true
}

// without lists the probes of a that are not in b.
func without(a, b []*probe) []*probe {
	in := make(map[*probe]bool, len(b))
	for _, p := range b {
		in[p] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(p *probe) bool { return in[p] })
}

// warnOfRestart names the settings that a reload cannot change, and that are not those of the start.
func (a *Agent) warnOfRestart(now config.Agent) {
	old := a.started
	for _, s := range []struct{ key, old, now string }{
		{"agent.listen", old.Listen, now.Listen},
		{"agent.control", old.Control, now.Control},
		{"agent.control_group", old.ControlGroup, now.ControlGroup},
		{"agent.data_dir", old.DataDir, now.DataDir},
	} {
		if s.old != s.now {
			a.log.Warn("a changed setting takes effect when the agent is restarted", "key", s.key, "running", s.old, "configured", s.now)
		}
	}
}

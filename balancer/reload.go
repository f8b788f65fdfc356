package balancer

import (
	"context"
	"errors"
	"log/slog"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
)

// restartNote lists the settings that a reload does not apply.
const restartNote = "[balancer] has changes that need a restart of lb balance: listen, control, control_group, data_dir or set_sysctls"

// reloadOrder requests a reload from the daemon.
type reloadOrder struct {
	api.Reload
	answer chan error // has room for one; nil: nobody waits
}

// reloads reloads the configuration on request until ctx ends. An invalid or refused configuration changes nothing.
func (b *Balancer) reloads(ctx context.Context) {
	hangups := b.options.Reload
	for {
		var o reloadOrder
		select {
		case <-ctx.Done():
			return
		case o = <-b.orders:
		case _, open := <-hangups:
			if !open {
				hangups = nil // there are none
				continue
			}
		}
		err := b.reload(ctx, o.Reload)
		if o.answer != nil {
			o.answer <- err
		}
	}
}

// Reload implements server.Configuration.
func (b *Balancer) Reload(ctx context.Context, r api.Reload) error {
	o := reloadOrder{r, make(chan error, 1)}
	select {
	case b.orders <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.answer:
		return err
	case <-b.engine.done:
		return api.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reload loads and applies the configuration. It notifies the service manager of the start and the result.
func (b *Balancer) reload(ctx context.Context, r api.Reload) error {
	b.options.Manager.Reloading()
	cfg, policy, err := b.load()
	if err == nil {
		err = b.engine.Reload(ctx, cfg, r.Force)
	}
	reloads := b.engine.rec.Report.Metrics.Reloads
	if err != nil {
		b.options.Manager.Ready("the last reload was refused, see the log")
		if ctx.Err() == nil {
			reloads.WithLabelValues("refused").Inc()
			b.reportRefusal(err)
		}
		return err
	}
	b.options.Manager.Ready("%d clusters", len(cfg.Clusters))
	reloads.WithLabelValues("done").Inc()
	b.access.SetPolicy(policy)
	b.hooks.Configure(cfg.Hooks)
	if needsRestart(b.cfg, cfg.Balancer) {
		b.log.Warn("reload: " + restartNote)
	}
	if features := ipvs.Features(cfg.KernelFeatures()); features != b.features {
		b.features = features
		b.checkSettings()
	}
	report := event.Report{Event: event.Now(event.ConfigReloaded, "configuration reloaded"), Level: event.Info}
	if r.Who != "" {
		report.Cause = "requested by " + r.Who
	}
	if r.Force {
		report.Cause += ", forced"
	}
	b.engine.rec.Report.Emit(report, slog.Int("clusters", len(cfg.Clusters)))
	return nil
}

// load reads the configuration and the files that it names for access control.
func (b *Balancer) load() (*config.Config, *listen.Policy, error) {
	cfg, err := b.options.Load()
	if err != nil {
		return nil, nil, err
	}
	policy, err := listener().LoadPolicy(cfg.Balancer.Access)
	return cfg, policy, err
}

// needsRestart reports whether two configurations differ in settings that only a restart applies.
func needsRestart(was, is config.Balancer) bool {
	lasting := func(b config.Balancer) config.Balancer {
		return config.Balancer{
			Listen: b.Listen, Control: b.Control, DataDir: b.DataDir, SetSysctls: b.SetSysctls,
			Access: config.Access{ControlGroup: b.ControlGroup},
		}
	}
	return lasting(was) != lasting(is)
}

// reportRefusal reports why a reload changed nothing, with an event for each mistake in the configuration.
func (b *Balancer) reportRefusal(err error) {
	errs := []string{err.Error()}
	if mistakes := (config.Diagnostics)(nil); errors.As(err, &mistakes) {
		errs = nil
		for _, m := range mistakes {
			errs = append(errs, m.String())
		}
	}
	for _, e := range errs {
		report := event.Report{
			Event: event.Now(event.ConfigRefused, "reload refused: the old configuration stays in effect"),
			Level: event.Error,
		}
		report.Err = e
		b.engine.rec.Report.Emit(report)
	}
}

// Reload replaces the configuration. An error means that nothing has changed. force overrides the guard.
func (e *engine) Reload(ctx context.Context, cfg *config.Config, force bool) error {
	contents, err := page.LoadAll(cfg.Clusters)
	if err != nil {
		return err
	}
	if busy := e.do(ctx, func(ctx context.Context) { err = e.reload(ctx, cfg, contents, force) }); busy != nil {
		return busy
	}
	return err
}

// reload does everything that can fail first.
func (e *engine) reload(ctx context.Context, cfg *config.Config, contents map[string]*page.Content, force bool) error {
	reload := e.rec.Model.Match(cfg)
	if err := reload.Guard(); err != nil && !force {
		return err
	}
	if err := e.drains.rename(reload.Renames()); err != nil {
		return err
	}
	e.contents, e.overrides.Dir = contents, cfg.Balancer.OverrideDir
	e.rec.Reconfigure(reload)
	for _, c := range reload.Gone() {
		e.waiting.answer(c, outcome{err: errors.New("the cluster left the configuration while it started")})
	}
	e.watchers.follow(ctx, e.rec.Model)
	e.rec.TakeOver(ctx, reload)
	e.reconciled()
	return nil
}

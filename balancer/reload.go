package balancer

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// restartNote lists the settings that a reload does not apply.
const restartNote = "[balancer] has changes that need a restart of lb balance: listen, control, control_group, data_dir or set_sysctls"

// reloadOrder requests a reload from the daemon.
type reloadOrder struct {
	api.Reload
	answer chan reloadResult // has room for one; nil: nobody waits
}

// reloadResult is the outcome of a reload. An *api.IncompleteError means that it took effect all the same.
type reloadResult struct {
	warnings []string
	err      error
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
		warnings, err := b.reload(ctx, o.Reload)
		if o.answer != nil {
			o.answer <- reloadResult{warnings, err}
		}
	}
}

// Reload implements server.Configuration.
func (b *Balancer) Reload(ctx context.Context, r api.Reload) ([]string, error) {
	o := reloadOrder{r, make(chan reloadResult, 1)}
	select {
	case b.orders <- o:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case result := <-o.answer:
		return result.warnings, result.err
	case <-b.engine.done:
		return nil, api.ErrStopping
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reload loads and applies the configuration, and returns warnings about what a reload cannot do. It notifies the service manager of the
// start and the result.
func (b *Balancer) reload(ctx context.Context, r api.Reload) ([]string, error) {
	b.options.Manager.Reloading()
	cfg, policy, err := b.load()
	if err == nil {
		err = b.engine.Reload(ctx, cfg, r.Force)
	}
	reloads, incomplete := b.engine.rec.Report.Metrics.Reloads, (*api.IncompleteError)(nil)
	switch {
	case errors.As(err, &incomplete):
		b.options.Manager.Ready("%d clusters; the kernel rejected a part of the last reload, see the log", len(cfg.Clusters))
		reloads.WithLabelValues("incomplete").Inc()
	case err != nil:
		b.options.Manager.Ready("the last reload was refused, see the log")
		if ctx.Err() == nil {
			reloads.WithLabelValues("refused").Inc()
			b.reportRefusal(err)
			b.engine.refused.Store(&api.RefusedReload{At: time.Now().UTC(), Error: strings.ReplaceAll(err.Error(), "\n", "; ")})
		}
		return nil, err
	default:
		b.options.Manager.Ready("%d clusters", len(cfg.Clusters))
		reloads.WithLabelValues("done").Inc()
	}
	b.engine.refused.Store(nil)
	b.access.SetPolicy(policy)
	b.hooks.Configure(cfg.Hooks)
	var warnings []string
	if needsRestart(b.cfg, cfg.Balancer) {
		warnings = append(warnings, restartNote)
		b.log.Warn("reload: " + restartNote)
	}
	b.reportReload(r, len(cfg.Clusters), incomplete)
	return append(warnings, b.engine.snapshot.Load().standing()...), err
}

// reportReload reports a reload that took effect, and what the kernel does not have of it.
func (b *Balancer) reportReload(r api.Reload, clusters int, incomplete *api.IncompleteError) {
	report := event.Report{Event: event.Now(event.ConfigReloaded, "configuration reloaded"), Level: event.Info}
	if r.Who != "" {
		report.Cause = "requested by " + r.Who
	}
	if r.Force {
		report.Cause += ", forced"
	}
	if incomplete != nil {
		report.Level, report.Err = event.Error, incomplete.Err.Error()
	}
	b.engine.rec.Report.Emit(report, slog.Int("clusters", clusters))
}

// standing lists the problems of a snapshot, in words.
func (s *snapshot) standing() []string {
	var all []string
	for _, p := range s.problems {
		all = append(all, p.String())
	}
	return all
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

// Reload replaces the configuration, and returns when the kernel has it, with the clusters that it starts. An error means that nothing
// has changed, an *api.IncompleteError that the kernel does not have all of it. force overrides the guard.
func (e *engine) Reload(ctx context.Context, cfg *config.Config, force bool) error {
	contents, err := page.LoadAll(cfg.Clusters)
	if err != nil {
		return err
	}
	var starts []chan outcome
	var failed error
	if busy := e.do(ctx, func(ctx context.Context) {
		starts, err = e.reload(ctx, cfg, contents, force)
		failed = errors.Join(e.rec.Failures()...)
	}); busy != nil {
		return busy
	}
	if err != nil {
		return err
	}
	if len(starts) > 0 {
		if failed, err = settled(ctx, e, starts); err != nil {
			return err
		}
	}
	return api.Incomplete("reloaded", failed)
}

// settled waits for starts and returns what the kernel rejects then.
func settled(ctx context.Context, e *engine, starts []chan outcome) (failed, err error) {
	for _, start := range starts {
		select {
		case <-start: // its error is among those that stand
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	err = e.do(ctx, func(context.Context) { failed = errors.Join(e.rec.Failures()...) })
	return failed, err
}

// reload does everything that can fail first. It returns the starts that are in progress.
func (e *engine) reload(
	ctx context.Context, cfg *config.Config, contents map[string]*page.Content, force bool,
) ([]chan outcome, error) {
	reload := e.rec.Model.Match(cfg)
	if err := reload.Guard(); err != nil && !force {
		return nil, err
	}
	if err := e.drains.rename(reload.Renames()); err != nil {
		return nil, err
	}
	e.contents, e.overrides.Dir = contents, cfg.Balancer.OverrideDir
	e.rec.Reconfigure(reload)
	for _, c := range reload.Gone() {
		e.waiting.answer(c, outcome{err: errors.New("the cluster left the configuration while it started")})
	}
	e.watchers.follow(ctx, e.rec.Model)
	e.network.follow(e.rec.Model)
	e.rec.TakeOver(ctx, reload)
	e.reconciled()
	var starts []chan outcome
	for _, c := range e.rec.Model.Lifecycle().InProgress() {
		starts = append(starts, make(chan outcome, 1))
		e.waiting[c] = append(e.waiting[c], starts[len(starts)-1])
	}
	return starts, nil
}

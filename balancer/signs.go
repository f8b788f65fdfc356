package balancer

import (
	"context"
	"log/slog"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/listen"
)

// tellReady wraps what is to be called when the balancer is ready, so that the service manager knows, too.
func tellReady(o Options) func() {
	return func() {
		o.Manager.Ready("what is to run is in the kernel")
		if o.Ready != nil {
			o.Ready()
		}
	}
}

// signs gives the service manager signs of life until ctx ends: each is carried by the goroutine that owns the clusters, between two of
// its cycles. When that hangs there is none, and the manager starts lb balance anew, which leaves the kernel as it is. A kernel that
// refuses is no reason: it is asked again in the next cycle.
func (b *Balancer) signs(ctx context.Context) {
	every := b.options.Manager.WatchdogInterval()
	if every == 0 {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if b.engine.do(ctx, func(context.Context) { b.options.Manager.KickWatchdog() }) != nil {
			return // the balancer ends
		}
	}
}

// restartWords tell what a reload does not take over.
const restartWords = "[balancer] has changed in what takes effect when lb balance is started again: listen, control, control_group, data_dir or set_sysctls"

// reload loads the config anew and takes it over. The service manager is told when that begins and how it went.
func (b *Balancer) reload(ctx context.Context, o reloadOrder) error {
	b.options.Manager.Reloading()
	cfg, err := b.options.Load()
	var keys *listen.Policy
	if err == nil {
		keys, err = listener().LoadPolicy(cfg.Balancer.Access)
	}
	if err == nil {
		err = b.engine.replace(ctx, cfg, o.force)
	}
	if err != nil {
		b.options.Manager.Ready("the last reload was refused, see the log")
		if ctx.Err() == nil {
			b.engine.meters.reloads.WithLabelValues("refused").Inc()
			b.refuse(err)
		}
		return err
	}
	b.options.Manager.Ready("%d clusters", len(cfg.Clusters))
	b.engine.meters.reloads.WithLabelValues("done").Inc()
	b.guard.SetPolicy(keys)
	b.hooks.Configure(cfg.Hooks)
	if lasting(cfg.Balancer) != lasting(b.cfg) {
		b.log.Warn("reload: " + restartWords)
	}
	if u := ipvs.Features(cfg.KernelUse()); u != b.use {
		b.use = u
		b.checkSettings()
	}
	ev := event.Now(event.ConfigReloaded, "config reloaded")
	if o.who != "" {
		ev.Cause = "asked by " + o.who
	}
	if o.force {
		ev.Cause += ", forced"
	}
	b.engine.tell(slog.LevelInfo, ev, slog.Int("clusters", len(cfg.Clusters)))
	return nil
}

package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/drain"
	"github.com/braintree/lb/balancer/override"
	"github.com/braintree/lb/balancer/page"
	"github.com/braintree/lb/balancer/reconcile"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
)

// dryRunPolls is how many nodes a dry run polls at a time.
const dryRunPolls = 64

// previewInputs are the inputs of a preview: a snapshot of the drains, and the current files. They serve no page.
type previewInputs struct {
	drains    map[cluster.NodeKey]cluster.Drain
	overrides *override.Reader
}

func newPreviewInputs(drains []drain.Drain, overrideDir string) *previewInputs {
	return &previewInputs{held(time.Now(), drains), override.NewReader(overrideDir, slog.New(slog.DiscardHandler))}
}

// Drains implements reconcile.Inputs.
func (in *previewInputs) Drains(time.Time) map[cluster.NodeKey]cluster.Drain { return in.drains }

// Overrides implements reconcile.Inputs.
func (in *previewInputs) Overrides(now time.Time, m *cluster.Model) {
	readOverrides(in.overrides, now, m)
}

// Pages implements reconcile.Inputs. A page that the daemon would close is removed.
func (in *previewInputs) Pages(_ context.Context, m *cluster.Model) {
	for _, c := range m.Clusters() {
		var served []netip.Addr
		for _, at := range c.Page() {
			served = append(served, at.Addr())
		}
		if !c.ServesPage() || !c.Running() || !slices.Equal(served, c.PageAddresses()) {
			c.SetPage(nil)
		}
	}
}

// rename moves drains to renamed clusters.
func (in *previewInputs) rename(names map[string]string) {
	renamed := map[cluster.NodeKey]cluster.Drain{}
	for k, d := range in.drains {
		if name, ok := names[k.Cluster]; ok {
			k.Cluster = name
		}
		renamed[k] = d
	}
	in.drains = renamed
}

// Plan implements server.Configuration.
func (b *Balancer) Plan(ctx context.Context, files []config.File) (api.Plan, error) {
	if files == nil {
		return b.engine.Plan(ctx, nil)
	}
	cfg, err := config.LoadFiles(files, b.options.Checks)
	if err == nil {
		_, err = listener().LoadPolicy(cfg.Balancer.Access)
	}
	if err != nil {
		return api.RefusedPlan(err), nil
	}
	p, err := b.engine.Plan(ctx, cfg)
	if needsRestart(b.cfg, cfg.Balancer) {
		p.Notes = append(p.Notes, restartNote)
	}
	return p, err
}

// Plan describes what the next reconcile would change or, with a configuration, what a reload with it would. It changes nothing:
// only the copy of the state is made in the goroutine that owns it.
func (e *engine) Plan(ctx context.Context, cfg *config.Config) (api.Plan, error) {
	e.planning.Lock()
	defer e.planning.Unlock()
	var p *reconcile.Preview
	var in *previewInputs
	var err error
	if busy := e.do(ctx, func(ctx context.Context) {
		in = newPreviewInputs(e.drains.store.All(), e.overrides.Dir)
		p, err = e.rec.Preview(ctx, in)
	}); busy != nil {
		return api.Plan{}, busy
	}
	if err != nil {
		return api.Plan{}, err
	}
	if cfg == nil {
		return p.Next(ctx)
	}
	if _, err := page.LoadAll(cfg.Clusters); err != nil {
		return api.RefusedPlan(err), nil
	}
	reload := p.Model.Match(cfg)
	in.rename(reload.Renames())
	in.overrides.Dir = cfg.Balancer.OverrideDir
	return p.Reload(ctx, reload)
}

// DryRun polls every node once, reads the kernel's tables, and prints what lb balance would change if it started now. It changes nothing.
func DryRun(ctx context.Context, o Options, w io.Writer) error {
	cfg, err := o.Load()
	if err != nil {
		return err
	}
	drains, err := drain.Read(cfg.Balancer.DataDir)
	if err != nil {
		return err
	}
	e := newEngine(o)
	e.configure(cfg)
	p, err := e.rec.Preview(ctx, newPreviewInputs(drains, cfg.Balancer.OverrideDir))
	if err != nil {
		return err
	}
	p.AdoptNow()
	e.watchers.pollOnce(ctx, p.Model)
	p.Model.Lifecycle().Autostart(time.Now())
	if len(p.CompleteStartsNow(ctx)) == 0 {
		p.Reconcile(ctx, reconcile.Startup)
	}
	plan, err := p.Plan(ctx)
	if err != nil {
		return err
	}
	errs := []error{printChanges(w, plan)}
	for _, c := range p.Model.Clusters() {
		if !c.Running() {
			errs = append(errs, printStart(ctx, w, p, c))
		}
	}
	return errors.Join(errs...)
}

func printChanges(w io.Writer, p api.Plan) error {
	if len(p.Changes) == 0 {
		_, err := fmt.Fprintln(w, "nothing to change")
		return err
	}
	for _, c := range p.Changes {
		if _, err := fmt.Fprintln(w, c.Change); err != nil {
			return err
		}
	}
	return nil
}

// printStart prints what starting a stopped cluster would change in addition.
func printStart(ctx context.Context, w io.Writer, p *reconcile.Preview, c *cluster.Cluster) error {
	plan, err := p.Start(ctx, c)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w,
		"cluster %s stays stopped: the kernel has no mark %d and autostart is off; `lb ctl cluster start %s` would do:\n",
		c.Name(), c.Mark(), c.Name())
	for _, change := range plan.Changes {
		if change.Cluster == c.Name() && err == nil {
			_, err = fmt.Fprintf(w, "  %s\n", change.Change)
		}
	}
	return err
}

// pollOnce polls every node and site of a model once and passes the readings to it.
func (w *watchers) pollOnce(ctx context.Context, m *cluster.Model) {
	var polls sync.WaitGroup
	slots := make(chan struct{}, dryRunPolls)
	poll := func(timeout time.Duration, ask func(context.Context)) {
		polls.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			ask(ctx)
		})
	}
	readings, siteReadings := map[nodeRef]*decide.Reading{}, map[siteRef]*watch.SiteReading{}
	for _, c := range m.Clusters() {
		for _, n := range c.Nodes() {
			r := &decide.Reading{}
			readings[nodeRef{c, n}] = r
			poll(c.Config().CheckTimeout, func(ctx context.Context) {
				p := w.poller(n.Config())
				defer p.Close()
				*r = p.Poll(ctx)
			})
		}
		for _, s := range c.Sites() {
			r := &watch.SiteReading{}
			siteReadings[siteRef{c, s}] = r
			poll(c.Config().CheckTimeout, func(ctx context.Context) {
				p := w.sitePoller(c.Config(), s.Config())
				defer p.Close()
				*r = p.Poll(ctx)
			})
		}
	}
	polls.Wait()
	now := time.Now()
	for _, c := range m.Clusters() {
		for _, n := range c.Nodes() {
			c.Observe(now, n, *readings[nodeRef{c, n}])
		}
		for _, s := range c.Sites() {
			m.ObserveSite(now, c, s, siteReading(*siteReadings[siteRef{c, s}]))
		}
	}
	m.Tick(now)
}

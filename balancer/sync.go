package balancer

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// syncStep starts or stops one of the kernel's sync daemons.
type syncStep struct {
	start  bool
	daemon ipvs.Daemon
}

// String says it as the plan's lines do, such as "start the backup sync daemon on eth1, id 7".
func (s syncStep) String() string {
	if s.start {
		return "start the " + s.daemon.String()
	}
	return "stop the " + s.daemon.String()
}

// syncSteps lists what makes those daemons run that the config wants, and no others. One that runs otherwise is stopped first: the kernel
// cannot change it.
func syncSteps(want config.Sync, running []ipvs.Daemon) []syncStep {
	var steps []syncStep
	for _, role := range []ipvs.Role{ipvs.Master, ipvs.Backup} {
		wanted := ipvs.Daemon{Role: role, Interface: want.Interface, ID: want.ID}
		at := slices.IndexFunc(running, func(d ipvs.Daemon) bool { return d.Role == role })
		if at >= 0 && running[at] == wanted {
			continue
		}
		if at >= 0 {
			steps = append(steps, syncStep{daemon: running[at]})
		}
		if want.Interface != "" {
			steps = append(steps, syncStep{start: true, daemon: wanted})
		}
	}
	return steps
}

// keepSync looks after the kernel's sync daemons, where the config wants them, or wanted them since the start.
func (e *engine) keepSync(ctx context.Context) {
	if e.sync.Interface == "" && !e.synced {
		return
	}
	trouble := ""
	if err := e.makeSync(ctx); err != nil {
		trouble = err.Error()
		e.failures++
	}
	e.say("connection synchronisation", nil, &e.syncTrouble, trouble)
}

func (e *engine) makeSync(ctx context.Context) error {
	running, err := e.table.Daemons(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, s := range syncSteps(e.sync, running) {
		if err := e.takeSyncStep(ctx, s); err != nil {
			failed = append(failed, err)
			continue
		}
		ev, level := event.Now(event.SyncChanged, "the kernel's sync daemons changed"), slog.LevelInfo
		if e.synced && e.sync == e.syncedAs {
			ev, level = event.Now(event.DriftRepaired, "drift repaired: somebody else changed the kernel's sync daemons"), slog.LevelWarn
			e.meters.drift.Inc()
		}
		ev.Change = s.String()
		e.tell(level, ev)
	}
	e.synced = e.sync.Interface != "" || len(failed) > 0
	e.syncedAs = e.sync
	if len(failed) > 0 {
		e.syncedAs = config.Sync{}
	}
	return errors.Join(failed...)
}

func (e *engine) takeSyncStep(ctx context.Context, s syncStep) error {
	if s.start {
		return e.table.StartDaemon(ctx, s.daemon)
	}
	if err := e.table.StopDaemon(ctx, s.daemon.Role); !errors.Is(err, ipvs.ErrNoDaemon) {
		return err
	}
	return nil
}

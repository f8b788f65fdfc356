package kernel

import (
	"context"
	"errors"
	"slices"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// syncDaemons is the part of ipvs.Table that Sync works with.
type syncDaemons interface {
	Daemons(ctx context.Context) ([]ipvs.Daemon, error)
	StartDaemon(ctx context.Context, d ipvs.Daemon) error
	StopDaemon(ctx context.Context, r ipvs.Role) error
}

// Sync reconciles the kernel threads that synchronize connections between balancers.
type Sync struct {
	daemons syncDaemons
	started bool        // lb has started daemons, or has failed to, and has not stopped them since
	set     config.Sync // as lb last made them: what differs at the next read, another program has changed
	err     string      // of the last Reconcile; "": none
	errors  int
}

// Reconcile runs the sync daemons that the configuration wants and no others, and returns what it changed. It leaves daemons of
// other programs alone as long as the configuration wants none.
func (s *Sync) Reconcile(ctx context.Context, wanted config.Sync) []Change {
	if wanted.Interface == "" && !s.started {
		return nil
	}
	changes, err := s.reconcile(ctx, wanted)
	s.err = text(err)
	if err != nil {
		s.errors++
	}
	return changes
}

func (s *Sync) reconcile(ctx context.Context, wanted config.Sync) ([]Change, error) {
	running, err := s.daemons.Daemons(ctx)
	if err != nil {
		return nil, err
	}
	drift := s.started && wanted == s.set // the configuration is the same, so another program changed the daemons
	var changes []Change
	var failed []error
	for _, step := range syncSteps(wanted, running) {
		if err := s.apply(ctx, step); err != nil {
			failed = append(failed, err)
			continue
		}
		changes = append(changes, Change{Resource: SyncDaemons, Text: step.String(), Drift: drift})
	}
	s.started = wanted.Interface != "" || len(failed) > 0
	s.set = wanted
	if len(failed) > 0 {
		s.set = config.Sync{}
	}
	return changes, errors.Join(failed...)
}

// Err is the error of the last Reconcile; "" if it succeeded.
func (s *Sync) Err() string { return s.err }

// onto returns a reconciler of daemons in memory that knows how lb last made the daemons.
func (s *Sync) onto(daemons syncDaemons) *Sync {
	return &Sync{daemons: daemons, started: s.started, set: s.set}
}

// syncStep starts or stops one sync daemon.
type syncStep struct {
	start  bool
	daemon ipvs.Daemon
}

// String describes the step, such as "start the backup sync daemon on eth1, id 7".
func (s syncStep) String() string {
	if s.start {
		return "start the " + s.daemon.String()
	}
	return "stop the " + s.daemon.String()
}

// syncSteps lists what makes exactly the wanted daemons run. A daemon with other settings is stopped first: the kernel cannot change it.
func syncSteps(wanted config.Sync, running []ipvs.Daemon) []syncStep {
	var steps []syncStep
	for _, role := range []ipvs.Role{ipvs.Master, ipvs.Backup} {
		want := ipvs.Daemon{Role: role, Interface: wanted.Interface, ID: wanted.ID}
		at := slices.IndexFunc(running, func(d ipvs.Daemon) bool { return d.Role == role })
		if at >= 0 && running[at] == want {
			continue
		}
		if at >= 0 {
			steps = append(steps, syncStep{daemon: running[at]})
		}
		if wanted.Interface != "" {
			steps = append(steps, syncStep{start: true, daemon: want})
		}
	}
	return steps
}

func (s *Sync) apply(ctx context.Context, step syncStep) error {
	if step.start {
		return s.daemons.StartDaemon(ctx, step.daemon)
	}
	if err := s.daemons.StopDaemon(ctx, step.daemon.Role); !errors.Is(err, ipvs.ErrNoDaemon) {
		return err
	}
	return nil
}

package kernel

import (
	"context"
	"errors"
	"slices"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/machine"
)

// syncDaemons is the part of ipvs.Table that Sync works with.
type syncDaemons interface {
	Daemons(ctx context.Context) ([]ipvs.Daemon, error)
	StartDaemon(ctx context.Context, d ipvs.Daemon) error
	StopDaemon(ctx context.Context, r ipvs.Role) error
}

// Network is what sync daemons need of the machine's network. The kernel never tells them of its changes: they go on with what there was
// when they started.
type Network struct {
	State   *machine.State               // nil: not known
	Members func() (map[int]bool, error) // interfaces, by index, where the messages of sync daemons are received; nil: not known
}

// Sync reconciles the kernel threads that synchronize connections between balancers.
type Sync struct {
	daemons syncDaemons
	network Network
	under   machine.Link // what the daemons were started on; zero: not known
	started bool         // lb has started daemons, or has failed to, and has not stopped them since
	set     config.Sync  // as lb last made them: what differs at the next read, another program has changed
	err     string       // of the last Reconcile; "": none
	errors  int
}

// Observe sets what is known of the machine's network.
func (s *Sync) Observe(n Network) { s.network = n }

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
	stale := s.stale(wanted, running)
	for _, step := range syncSteps(wanted, running, stale) {
		if err := s.apply(ctx, step); err != nil {
			failed = append(failed, err)
			continue
		}
		changes = append(changes, Change{Resource: SyncDaemons, Text: step.String(), Drift: drift || step.cause != ""})
	}
	s.started = wanted.Interface != "" || len(failed) > 0
	s.set = wanted
	if len(failed) > 0 {
		s.set = config.Sync{}
	}
	s.note(wanted, len(changes) > 0)
	return changes, errors.Join(failed...)
}

// Err is the error of the last Reconcile; "" if it succeeded.
func (s *Sync) Err() string { return s.err }

// onto returns a reconciler of daemons in memory that knows how lb last made the daemons.
func (s *Sync) onto(daemons syncDaemons) *Sync {
	return &Sync{daemons: daemons, network: s.network, under: s.under, started: s.started, set: s.set}
}

// syncStep starts or stops one sync daemon.
type syncStep struct {
	start  bool
	daemon ipvs.Daemon
	cause  string // why a daemon that runs as wanted has to be started again; "": it does not
}

// String describes the step, such as "start the backup sync daemon on eth1, id 7".
func (s syncStep) String() string {
	if s.start && s.cause != "" {
		return "start the " + s.daemon.String() + " again: " + s.cause
	}
	if s.start {
		return "start the " + s.daemon.String()
	}
	return "stop the " + s.daemon.String()
}

// syncSteps lists what makes exactly the wanted daemons run. A daemon with other settings is stopped first: the kernel cannot change it.
// So is one that runs as wanted, but is stale.
func syncSteps(wanted config.Sync, running []ipvs.Daemon, stale string) []syncStep {
	var steps []syncStep
	for _, role := range []ipvs.Role{ipvs.Master, ipvs.Backup} {
		want := ipvs.Daemon{Role: role, Interface: wanted.Interface, ID: wanted.ID}
		at := slices.IndexFunc(running, func(d ipvs.Daemon) bool { return d.Role == role })
		cause := ""
		if at >= 0 && running[at] == want {
			if cause = stale; cause == "" {
				continue
			}
		}
		if at >= 0 {
			steps = append(steps, syncStep{daemon: running[at], cause: cause})
		}
		if wanted.Interface != "" {
			steps = append(steps, syncStep{start: true, daemon: want, cause: cause})
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

// stale says why daemons that run as wanted do not work; "": they do, or nothing is known, or their interface cannot be used yet.
func (s *Sync) stale(wanted config.Sync, running []ipvs.Daemon) string {
	link, ok := s.link(wanted)
	if !ok || !link.Up || !link.SourceV4().IsValid() {
		return ""
	}
	was := s.under
	switch {
	case was.Index == 0: // not known: lb has just begun
	case was.Index != link.Index:
		return link.Name + " was deleted and made again"
	case was.SourceV4() != link.SourceV4():
		return link.Name + " has another address"
	case !was.Up:
		return link.Name + " was down"
	}
	backup := slices.ContainsFunc(running, func(d ipvs.Daemon) bool { return d.Role == ipvs.Backup && d.Interface == link.Name })
	if s.network.Members == nil || !backup {
		return ""
	}
	if members, err := s.network.Members(); err == nil && !members[link.Index] {
		return "the backup daemon is not in the multicast group on " + link.Name
	}
	return ""
}

// note remembers what the daemons run on. Until the interface can be used, that is the last that is known of it.
func (s *Sync) note(wanted config.Sync, changed bool) {
	link, ok := s.link(wanted)
	switch {
	case wanted.Interface == "":
		s.under = machine.Link{}
	case !ok:
	case changed || s.under.Index == 0:
		s.under = link
	case !link.Up && s.under.Index == link.Index:
		s.under.Up = false
	}
}

// link is the interface of the daemons, if it is known and there.
func (s *Sync) link(wanted config.Sync) (machine.Link, bool) {
	if s.network.State == nil || wanted.Interface == "" {
		return machine.Link{}, false
	}
	return s.network.State.Link(wanted.Interface)
}

// Package kernel makes the kernel's load-balancing state what the balancer wants: one reconciler for each resource (the IPVS table,
// the marking rules, the sync daemons, the timeouts). Each of them reads, compares and applies, and remembers its own drift and last error.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// timeout bounds the work of one reconcile in the kernel, which takes milliseconds, and seconds where the kernel has to load a module
// first.
const timeout = 20 * time.Second

// Kernel holds the reconcilers of all resources. One goroutine uses it at a time.
type Kernel struct {
	Table *Table
	Marks *Marks
	Sync  *Sync

	Timeouts *Timeouts
	Effect   *Effect   // of the marking rules
	Settings *Settings // nil: they are left alone
}

// New returns reconcilers that have read nothing yet.
func New(table ipvs.Table, marks mark.Table) *Kernel {
	return &Kernel{
		Table: &Table{ipvs: table}, Marks: &Marks{rules: marks}, Sync: &Sync{daemons: table}, Timeouts: &Timeouts{kernel: table},
		Effect: &Effect{rules: marks},
	}
}

// Resource names a kernel resource, in messages.
type Resource string

// The resources.
const (
	IPVSTable    Resource = "the IPVS table"
	MarkingRules Resource = "the marking rules"
	SyncDaemons  Resource = "the kernel's sync daemons"

	ConnectionTimeouts Resource = "the kernel's connection timeouts"
	KernelSettings     Resource = "the kernel settings"
)

// Change is one change to a resource other than the IPVS table, whose changes are operations of a plan.
type Change struct {
	Resource Resource
	Text     string    // one line, such as "mark 7: add tcp 204.109.13.7:443"
	Mark     ipvs.Mark // 0: of no mark
	Drift    bool      // it undoes a change by another program
}

// Errors counts failed reads and rejected changes since the start.
func (k *Kernel) Errors() int {
	return k.Table.errors + k.Marks.errors + k.Sync.errors + k.Timeouts.errors + k.Settings.count()
}

// Context bounds work in the kernel. Work that has begun is finished even if ctx ends, as when the daemon stops.
func Context(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// State is what the kernel has of every resource.
type State struct {
	Services []ipvs.Service // sorted by key
	Rules    []mark.Rule
	Daemons  []ipvs.Daemon
	Timeouts ipvs.Timeouts
}

// Read reads every resource.
func (k *Kernel) Read(ctx context.Context) (State, error) {
	ctx, cancel := Context(ctx)
	defer cancel()
	var s State
	var err error
	if s.Services, err = k.Table.ipvs.Dump(ctx); err != nil {
		return s, fmt.Errorf("read the kernel's load-balancing table: %w", err)
	}
	if s.Rules, err = k.Marks.rules.List(ctx); err != nil {
		return s, fmt.Errorf("read the kernel's marking rules: %w", err)
	}
	if s.Daemons, err = k.Sync.daemons.Daemons(ctx); err != nil {
		return s, fmt.Errorf("read the kernel's sync daemons: %w", err)
	}
	if s.Timeouts, err = k.Timeouts.kernel.Timeouts(ctx); err != nil {
		return s, fmt.Errorf("read the kernel's timeouts: %w", err)
	}
	return s, nil
}

// Copy returns reconcilers that work in memory, on a copy of a state, and know what k last made of each resource.
func (k *Kernel) Copy(ctx context.Context, s State) (*Kernel, error) {
	table, marks := ipvs.NewMemory(), mark.NewMemory()
	table.Seed(s.Services...)
	var errs []error
	for _, d := range s.Daemons {
		errs = append(errs, table.StartDaemon(ctx, d))
	}
	errs = append(errs, marks.Set(ctx, s.Rules), table.SetTimeouts(ctx, s.Timeouts))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("copy the kernel's tables: %w", err)
	}
	return &Kernel{
		Table: k.Table.onto(table, s.Services), Marks: k.Marks.onto(marks), Sync: k.Sync.onto(table), Timeouts: k.Timeouts.onto(table),
		Effect: &Effect{rules: marks},
	}, nil
}

// Difference is what turns one state into another.
type Difference struct {
	Services plan.Plan
	Others   []Change // to the other resources
}

// Compare lists what turns the state before into the state after.
func Compare(before, after State) Difference {
	var d Difference
	marks := map[ipvs.Mark]bool{}
	for _, s := range slices.Concat(before.Services, after.Services) {
		marks[s.Mark] = true
	}
	d.Services = plan.Diff(after.Services, before.Services, marks)
	d.Others = markChanges(after.Rules, before.Rules)
	for _, role := range []ipvs.Role{ipvs.Master, ipvs.Backup} {
		for _, step := range []syncStep{{daemon: daemonOf(before, role)}, {start: true, daemon: daemonOf(after, role)}} {
			if step.daemon != (ipvs.Daemon{}) && daemonOf(before, role) != daemonOf(after, role) {
				d.Others = append(d.Others, Change{Resource: SyncDaemons, Text: step.String()})
			}
		}
	}
	d.Others = append(d.Others, timeoutChanges(before.Timeouts, after.Timeouts, ipvs.Timeouts{})...)
	return d
}

// daemonOf is the sync daemon of a role; the zero Daemon if none runs.
func daemonOf(s State, role ipvs.Role) ipvs.Daemon {
	at := slices.IndexFunc(s.Daemons, func(d ipvs.Daemon) bool { return d.Role == role })
	if at < 0 {
		return ipvs.Daemon{}
	}
	return s.Daemons[at]
}

// text is the text of an error; "" for nil.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// summary joins the first few of many errors.
func summary(errs []string) string {
	const most = 3
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(errs, "; ")
}

package kernel

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// Table reconciles the kernel's IPVS table.
type Table struct {
	ipvs   ipvs.Table
	actual []ipvs.Service // as last read, plus the changes that lb has made since
	at     time.Time      // of actual

	left    []ipvs.Service // as lb last left it: what differs at the next read, another program has changed
	hasLeft bool           // left is known

	readErr  string                  // of the last read; "": none
	rejected map[ipvs.Mark][]failure // what the kernel rejected in the last Apply
	errors   int
}

// Result is the outcome of a plan.
type Result struct {
	Done  plan.Plan
	Drift map[plan.Object]bool // objects that another program had changed
}

// Read reads the kernel's table. When it fails, the table stays as last read and Err says why.
func (t *Table) Read(ctx context.Context) bool {
	ctx, cancel := Context(ctx)
	defer cancel()
	services, err := t.ipvs.Dump(ctx)
	t.readErr = text(err)
	if err != nil {
		t.errors++
		return false
	}
	t.actual, t.at = services, time.Now()
	return true
}

// Services returns the table as last read, plus the changes that lb has made since, sorted by key. Nobody changes what it returns.
func (t *Table) Services() []ipvs.Service { return t.actual }

// At is when Services was read or last changed.
func (t *Table) At() time.Time { return t.at }

// Err is the error of the last read; "" if it succeeded.
func (t *Table) Err() string { return t.readErr }

// Accepted reports whether the kernel rejected nothing in the last Apply.
func (t *Table) Accepted() bool { return len(t.rejected) == 0 }

// Rejected says what the kernel rejected about these marks in the last Apply; "" for nothing.
func (t *Table) Rejected(marks []ipvs.Mark) string {
	var errs []string
	for _, m := range marks {
		for _, f := range t.rejected[m] {
			errs = append(errs, f.err.Error())
		}
	}
	return summary(errs)
}

// RejectedNode says what the kernel rejected in the last Apply that keeps it from having a node of these marks as wanted; "" for nothing.
func (t *Table) RejectedNode(marks []ipvs.Mark, node netip.Addr) string {
	var errs []string
	for _, m := range marks {
		for _, f := range t.rejected[m] {
			newService := f.op.Kind == plan.PutService && !f.op.Edit
			if newService || f.op.Destination.Address == node {
				errs = append(errs, f.err.Error())
			}
		}
	}
	return summary(errs)
}

// RejectedExcept says what the kernel rejected about all marks but these.
func (t *Table) RejectedExcept(marks []ipvs.Mark) string {
	var others []ipvs.Mark
	for m := range t.rejected {
		if !slices.Contains(marks, m) {
			others = append(others, m)
		}
	}
	slices.Sort(others)
	return t.Rejected(others)
}

// Has reports whether the table, as last read, has a service of one of these marks.
func (t *Table) Has(marks ...ipvs.Mark) bool {
	return slices.ContainsFunc(t.actual, func(s ipvs.Service) bool { return slices.Contains(marks, s.Mark) })
}

// Ready reports whether the table is known well enough to change weights before the next read.
func (t *Table) Ready() bool { return t.hasLeft && t.readErr == "" }

// Diff lists what turns the table as last read into the wanted one. It touches only services of owned marks.
func (t *Table) Diff(wanted []ipvs.Service, owned map[ipvs.Mark]bool) plan.Plan {
	return plan.Diff(wanted, t.actual, owned)
}

// Apply carries out a plan that Diff made after a read.
func (t *Table) Apply(ctx context.Context, p plan.Plan, owned map[ipvs.Mark]bool) Result {
	done, failed := apply(ctx, t.ipvs, p)
	r := Result{Done: done, Drift: t.drift(done, owned)}
	t.reject(failed)
	return r
}

// Remember notes how lb leaves the table, so that the next read shows what others have changed. It reads the table again if changed is
// true.
func (t *Table) Remember(ctx context.Context, changed bool) {
	t.hasLeft = !changed || t.Read(ctx)
	t.left = t.actual
}

// Edit carries out a plan of edits and removals of nodes that was made on the table as last read, without reading it again, and notes what
// it changed. The table may have changed since: the kernel then rejects what concerns a node that is gone, and the read that follows finds
// the rest.
func (t *Table) Edit(ctx context.Context, p plan.Plan, owned map[ipvs.Mark]bool) Result {
	if len(p) == 0 {
		return Result{}
	}
	changes := p.Changes()
	for i := range changes {
		changes[i].MustExist = true
	}
	var done plan.Plan
	for i, err := range t.ipvs.Apply(ctx, changes) {
		if err == nil {
			done = append(done, p[i])
		}
	}
	r := Result{Done: done, Drift: t.drift(done, owned)}
	t.actual, t.left, t.at = edited(t.actual, done), edited(t.left, done), time.Now()
	return r
}

// drift names the objects that another program has changed since lb left the table. It is needed only if something was done.
func (t *Table) drift(done plan.Plan, owned map[ipvs.Mark]bool) map[plan.Object]bool {
	if len(done) == 0 || !t.hasLeft {
		return nil
	}
	objects := map[plan.Object]bool{}
	for _, op := range plan.Diff(t.left, t.actual, owned) {
		objects[op.Object()] = true
	}
	return objects
}

// reject keeps what the kernel rejected, by mark.
func (t *Table) reject(failed []failure) {
	t.errors += len(failed)
	t.rejected = map[ipvs.Mark][]failure{}
	for _, f := range failed {
		t.rejected[f.op.Key.Mark] = append(t.rejected[f.op.Key.Mark], f)
	}
}

// onto returns a reconciler of a table in memory that holds services.
func (t *Table) onto(table ipvs.Table, services []ipvs.Service) *Table {
	return &Table{ipvs: table, actual: services}
}

// edited returns a table with the edits and removals of destinations that lb has made in the kernel. It leaves the original as it is.
func edited(table []ipvs.Service, edits plan.Plan) []ipvs.Service {
	if len(edits) == 0 {
		return table
	}
	table = slices.Clone(table)
	cloned := map[ipvs.Key]bool{}
	for _, op := range edits {
		at, has := ipvs.Find(table, op.Key)
		if !has {
			continue
		}
		if !cloned[op.Key] {
			cloned[op.Key] = true
			table[at].Destinations = slices.Clone(table[at].Destinations)
		}
		if op.Kind == plan.DeleteDestination {
			table[at].Destinations = slices.DeleteFunc(table[at].Destinations, func(d ipvs.Destination) bool {
				return d.Address == op.Destination.Address && d.Port == op.Destination.Port
			})
			continue
		}
		for i := range table[at].Destinations {
			if d := &table[at].Destinations[i]; d.Address == op.Destination.Address && d.Port == op.Destination.Port {
				counted := *d
				*d = op.Destination
				d.ActiveConns, d.InactiveConns, d.Stats = counted.ActiveConns, counted.InactiveConns, counted.Stats
			}
		}
	}
	return table
}

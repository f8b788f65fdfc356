package balancer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/plan"
	"github.com/braintree/lb/netx/ipvs"
)

// cycle reads the kernel's table, decides, plans, and applies what differs; weights that readings have changed it sends before. What fails is reported
// and tried again in the next one.
func (e *engine) cycle(ctx context.Context) {
	// What has begun is finished, also when the daemon is told to end.
	life := ctx // of what outlives the cycle
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kernelTimeout)
	defer cancel()
	now := time.Now()
	defer func() { e.meters.cycles.Observe(time.Since(now).Seconds()) }()
	hurried := e.dirty
	if !hurried {
		e.checkAround(ctx)
	}
	e.lastCycle, e.dirty = now, false
	e.applyDrains(now)
	if hurried && e.hasLeft && e.trouble == "" {
		e.hurry(ctx, now)
	}
	if !e.look(ctx) {
		e.publish(now)
		return
	}
	e.adoptRunning(now)
	e.servePages(life)
	e.readFiles()
	for _, c := range e.clusters {
		c.pass(now)
	}
	wanted, owned := e.wanted(now)
	p := plan.Diff(wanted, e.actual, owned)
	done, failed := Apply(ctx, e.table, p)
	at := time.Now()
	// Nobody's connections wait for what follows.
	e.tellOutcome(at, e.clusters)
	var drift map[plan.Object]bool
	if len(done) > 0 {
		drift = e.drift(owned)
	}
	e.report(at, done, drift)
	e.fail(failed)
	e.hasLeft = true
	if len(p) > 0 {
		e.hasLeft = e.look(ctx)
	}
	e.left = e.actual
	for m := range e.retired {
		if e.hasLeft && !e.has(m) {
			delete(e.retired, m)
		}
	}
	if hurried && now.Sub(e.marksSeen) >= markCycles*e.interval() {
		e.checkAround(ctx) // a changed weight does not wait for it
	}
	e.lastCycle = time.Now()
	if e.heard || len(p) > 0 || len(failed) > 0 {
		e.publish(e.lastCycle) // else there is nothing new; who asks for the status has a view of that moment made
	}
}

// checkAround looks at what is ours in the kernel beside the table.
func (e *engine) checkAround(ctx context.Context) {
	e.checkMarks(ctx)
	e.keepSync(ctx)
}

// look reads the kernel's table.
func (e *engine) look(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kernelTimeout)
	defer cancel()
	services, err := e.table.Dump(ctx)
	trouble := ""
	if err != nil {
		trouble = err.Error()
		e.failures++
	}
	e.say("the kernel's table", nil, &e.trouble, trouble)
	if err != nil {
		return false
	}
	e.actual, e.read = services, time.Now()
	return true
}

// adoptRunning takes over, once, the clusters that the kernel already has.
func (e *engine) adoptRunning(now time.Time) {
	if e.adopted {
		return
	}
	e.adopted = true
	for _, c := range e.clusters {
		if e.has(c.mark()) {
			e.adoptCluster(now, c)
		}
	}
}

func (e *engine) adoptCluster(now time.Time, c *cluster) {
	c.adopt(now, e.actual)
	e.unretire(c)
	ev := c.about(event.ClusterAdopted, "cluster adopted: it runs in the kernel already and keeps its weights until readings arrive")
	ev.Nodes = c.tally()
	e.tell(slog.LevelInfo, ev)
}

// wanted is the table as it should be, as far as it is ours, and the marks that are.
func (e *engine) wanted(now time.Time) ([]ipvs.Service, map[ipvs.Mark]bool) {
	var wanted []ipvs.Service
	owned := map[ipvs.Mark]bool{}
	for m, r := range e.retired {
		owned[m] = !r.afterMarks || e.hasMarked && e.markTrouble == ""
	}
	for _, c := range e.clusters {
		if c.running {
			for _, m := range c.marks() {
				owned[m] = true
			}
			wanted = append(wanted, c.services(now, e.actual)...)
			continue
		}
		strange := e.has(c.mark()) && !owned[c.mark()]
		if strange && !c.strange {
			e.tell(slog.LevelWarn, c.about(event.ClusterStrange, "the kernel has the mark of a cluster that lb did not start; it is left alone: "+
				"take it over with `lb ctl cluster start "+c.cfg.Name+"` or remove it with `lb ctl cluster stop "+c.cfg.Name+"`"))
		}
		c.strange = strange
	}
	return wanted, owned
}

// drift names what somebody else has changed since the last cycle, among what is ours.
func (e *engine) drift(owned map[ipvs.Mark]bool) map[plan.Object]bool {
	objects := map[plan.Object]bool{}
	if !e.hasLeft {
		return objects
	}
	for _, op := range plan.Diff(e.left, e.actual, owned) {
		objects[op.Object()] = true
	}
	return objects
}

// fail keeps and reports what the kernel refused, by cluster.
func (e *engine) fail(failed []Failure) {
	e.failures += len(failed)
	words := map[ipvs.Mark][]string{}
	for _, f := range failed {
		words[f.Op.Key.Mark] = append(words[f.Op.Key.Mark], f.Err.Error())
	}
	for _, c := range e.clusters {
		e.say("cluster "+c.cfg.Name, c, &c.trouble, summary(take(words, c.marks())))
	}
	var rest []string
	for _, f := range failed {
		if _, left := words[f.Op.Key.Mark]; left {
			rest = append(rest, f.Err.Error())
		}
	}
	e.say("marks that left the config", nil, &e.oddments, summary(rest))
}

// take takes what is said about these marks out of words.
func take(words map[ipvs.Mark][]string, marks []ipvs.Mark) []string {
	var taken []string
	for _, m := range marks {
		taken = append(taken, words[m]...)
		delete(words, m)
	}
	return taken
}

// summary gives the first few of many errors.
func summary(errs []string) string {
	const most = 3
	if n := len(errs) - most; n > 0 {
		errs = append(errs[:most:most], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(errs, "; ")
}

// running returns the running cluster of that mark, nil when there is none.
func (e *engine) running(m ipvs.Mark) *cluster {
	for _, c := range e.clusters {
		if c.running && slices.Contains(c.marks(), m) {
			return c
		}
	}
	return nil
}

package reconcile

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/balancer/plan"
)

// Reporter logs what happens, records it in the journal and counts it, so that log, journal and metrics agree.
type Reporter struct {
	Log     *slog.Logger
	Journal *journal.Journal
	Metrics *Metrics

	kernelErrors map[string]string        // that stand, by what they are about
	problems     map[string][]api.Problem // that stand, by their source
}

// NewReporter returns a reporter without standing errors.
func NewReporter(log *slog.Logger, j *journal.Journal) *Reporter {
	return &Reporter{Log: log, Journal: j, Metrics: newMetrics(), kernelErrors: map[string]string{}, problems: map[string][]api.Problem{}}
}

// Emit logs and records a report. further are attributes for the log alone.
func (r *Reporter) Emit(report event.Report, further ...slog.Attr) {
	r.Log.LogAttrs(context.Background(), slog.Level(report.Level), report.Text, append(report.Attrs(), further...)...)
	r.Journal.Add(report.Event)
}

// Now emits a report of this moment.
func (r *Reporter) Now(kind event.Kind, level event.Level, text string, further ...slog.Attr) {
	r.Emit(event.Report{Event: event.Now(kind, text), Level: level}, further...)
}

// KernelError reports an error of the kernel when it is new, and when it is over. what says what it is about; c is its cluster, nil for
// none.
func (r *Reporter) KernelError(what string, c *cluster.Cluster, err string) {
	if err == r.kernelErrors[what] {
		return
	}
	report := event.Report{Event: event.Now(event.KernelAccepts, "kernel error resolved: "+what), Level: event.Info}
	if err != "" {
		report = event.Report{
			Event: event.Now(event.KernelRejects, "kernel error: "+what+"; lb retries at the next reconcile"),
			Level: event.Error,
		}
		report.Err = err
	}
	if c != nil {
		report.Cluster, report.Mark = c.Name(), uint32(c.Mark())
	}
	if err == "" {
		delete(r.kernelErrors, what)
	} else {
		r.kernelErrors[what] = err
	}
	r.Emit(report)
}

// operation reports an operation that the kernel has carried out.
func (r *Reporter) operation(report event.Report, kind plan.Kind, drift bool) {
	r.Metrics.Operations.WithLabelValues(operationLabel(kind)).Inc()
	if drift {
		r.drift(&report, "the kernel's table")
	}
	r.Emit(report)
}

// resource reports what a reconcile did to another resource.
func (r *Reporter) resource(at time.Time, resource kernel.Resource, changes []kernel.Change, err string) {
	r.KernelError(string(resource), nil, err)
	for _, c := range changes {
		report := event.Report{Event: changeEvent(c), Level: event.Info}
		report.Time = at
		if c.Drift {
			r.drift(&report, string(resource))
		}
		r.Emit(report)
	}
}

// changeKinds are the kinds of events for changes to the resources beside the table.
var changeKinds = map[kernel.Resource]event.Kind{
	kernel.MarkingRules: event.MarksChanged,
	kernel.SyncDaemons:  event.SyncChanged,

	kernel.ConnectionTimeouts: event.TimeoutsChanged,
	kernel.KernelSettings:     event.SettingChanged,
}

// changeEvent is the event of a change to another resource. Plans show it, too.
func changeEvent(c kernel.Change) event.Event {
	text := strings.TrimPrefix(strings.TrimPrefix(string(c.Resource), "the "), "kernel's ") + " changed"
	return event.Event{Kind: changeKinds[c.Resource], Text: text, Change: c.Text, Mark: uint32(c.Mark)}
}

// drift makes a report one about a change by another program that lb has undone.
func (r *Reporter) drift(report *event.Report, resource string) {
	report.Kind, report.Text, report.Level = event.DriftRepaired, "drift repaired: another program changed "+resource, event.Warn
	r.Metrics.Drift.Inc()
}

package reconcile

import (
	"context"
	"log/slog"
	"time"

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

	kernelErrors map[string]string // that stand, by what they are about
}

// NewReporter returns a reporter without standing errors.
func NewReporter(log *slog.Logger, j *journal.Journal) *Reporter {
	return &Reporter{Log: log, Journal: j, Metrics: newMetrics(), kernelErrors: map[string]string{}}
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
	report := event.Report{Event: event.Now(event.KernelObeys, "kernel error resolved: "+what), Level: event.Info}
	if err != "" {
		report = event.Report{
			Event: event.Now(event.KernelRefuses, "kernel error: "+what+"; lb retries at the next reconcile"),
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

// changes reports changes to another resource.
func (r *Reporter) changes(at time.Time, changes []kernel.Change, kind event.Kind, text, resource string) {
	for _, c := range changes {
		report := event.Report{
			Event: event.Event{Time: at, Kind: kind, Text: text, Change: c.Text, Mark: uint32(c.Mark)},
			Level: event.Info,
		}
		if c.Drift {
			r.drift(&report, resource)
		}
		r.Emit(report)
	}
}

// drift makes a report one about a change by another program that lb has undone.
func (r *Reporter) drift(report *event.Report, resource string) {
	report.Kind, report.Text, report.Level = event.DriftRepaired, "drift repaired: another program changed "+resource, event.Warn
	r.Metrics.Drift.Inc()
}

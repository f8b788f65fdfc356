package agent

import (
	"time"

	"github.com/braintree/lb/agent/force"
)

// Report is the answer to GET / in JSON.
type Report struct {
	Version  string          `json:"version"`
	Services []ServiceReport `json:"services"` // sorted by name
}

// ServiceReport is the answer to GET /SERVICE/status in JSON.
type ServiceReport struct {
	Name     string             `json:"name"`
	Health   int                `json:"health"`   // what balancers are told, 0 to 100
	Measured int                `json:"measured"` // what it would be without a force
	Forced   *ForcedReport      `json:"forced"`   // null: it is not forced
	Depends  []DependencyReport `json:"depends"`
	Metrics  []MetricReport     `json:"metrics"`
}

// ForcedReport is the force in effect.
type ForcedReport struct {
	Kind    string    `json:"kind"`            // down, up or health
	Value   *int      `json:"value,omitempty"` // of kind health: the ceiling
	All     bool      `json:"all"`             // it forces every service
	Reason  string    `json:"reason"`
	Who     string    `json:"who"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires,omitzero"`
}

// DependencyReport is one dependency.
type DependencyReport struct {
	Type    string `json:"type"`
	Display string `json:"display"`
	OK      bool   `json:"ok"`
	ResultReport
}

// MetricReport is one metric.
type MetricReport struct {
	Type    string `json:"type"`
	Display string `json:"display"`
	OK      bool   `json:"ok"`    // it could be measured
	Value   int    `json:"value"` // what it adds to the health
	Weight  int    `json:"weight"`
	ResultReport
}

// ResultReport is what the reports of dependencies and metrics share.
type ResultReport struct {
	Detail string   `json:"detail"`
	Age    *float64 `json:"age"` // seconds since the result; null: it has not run yet
	Stale  bool     `json:"stale"`
}

// report gives the view as JSON has it.
func (v view) report(now time.Time) ServiceReport {
	r := ServiceReport{
		Name: v.name, Health: v.health, Measured: v.measured, Forced: forcedReport(v.forced),
		Depends: make([]DependencyReport, len(v.depends)), Metrics: make([]MetricReport, len(v.metrics)),
	}
	for i, d := range v.depends {
		r.Depends[i] = DependencyReport{Type: d.Config.Type, Display: d.Name, OK: d.Well(now), ResultReport: d.report(now)}
	}
	for i, m := range v.metrics {
		r.Metrics[i] = MetricReport{
			Type: m.Config.Type, Display: m.Name, OK: m.Well(now), Value: m.Points(now), Weight: m.Config.Weight,
			ResultReport: m.report(now),
		}
	}
	return r
}

func (l line) report(now time.Time) ResultReport {
	r := ResultReport{Detail: l.detail(now), Stale: l.Stale(now)}
	if l.result != nil {
		age := float64(l.Age(now).Round(time.Millisecond).Milliseconds()) / 1000 // Seconds would give 1.2570000000000001 for 1.257
		r.Age = &age
	}
	return r
}

func forcedReport(f *force.Force) *ForcedReport {
	if f == nil {
		return nil
	}
	r := &ForcedReport{Kind: string(f.Kind), All: f.Service == "", Reason: f.Reason, Who: f.Who, At: f.At, Expires: f.Expires}
	if f.Override().Kind == "health" {
		r.Value = &f.Value
	}
	return r
}

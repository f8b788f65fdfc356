package server

import (
	"time"

	"github.com/braintree/lb/agent/api"
	"github.com/braintree/lb/agent/service"
)

// report converts a view to JSON.
func report(v service.View, now time.Time) api.Service {
	r := api.Service{
		Name: v.Name, Health: v.Health, Measured: v.Measured, Forced: v.ForceReport(),
		Depends: make([]api.Dependency, len(v.Depends)), Metrics: make([]api.Metric, len(v.Metrics)),
	}
	if v.Fault != "" {
		r.Tunnel = v.Fault
	}
	for i, d := range v.Depends {
		r.Depends[i] = api.Dependency{Type: d.Config.Type, Display: d.Name, OK: d.Passing(now), Result: result(d, now)}
	}
	for i, m := range v.Metrics {
		r.Metrics[i] = api.Metric{
			Type: m.Config.Type, Display: m.Name, OK: m.Passing(now), Value: m.Points(now), Weight: m.Config.Weight, Result: result(m, now),
		}
	}
	return r
}

// result converts the latest result of a check to JSON.
func result(c service.Check, now time.Time) api.Result {
	r := api.Result{Detail: c.Detail(now), Stale: c.Stale(now)}
	if c.Result != nil {
		age := float64(c.Age(now).Round(time.Millisecond).Milliseconds()) / 1000 // Seconds() would be 1.2570000000000001 for 1.257
		r.Age = &age
	}
	return r
}

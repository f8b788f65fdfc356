package service

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
)

// Registry holds the current services and the forces on them. Any goroutine may use it.
type Registry struct {
	current atomic.Pointer[Set]
	forces  *force.Store
	faults  atomic.Pointer[map[string]string] // see SetFaults; nil: none
}

// NewRegistry returns a registry of the services in a set.
func NewRegistry(s *Set, forces *force.Store) *Registry {
	r := &Registry{forces: forces}
	r.current.Store(s)
	return r
}

// Current returns the set in use.
func (r *Registry) Current() *Set { return r.current.Load() }

// Replace makes another set the current one.
func (r *Registry) Replace(s *Set) { r.current.Store(s) }

// SetFaults sets why clients cannot reach services on this machine, whatever their checks say, by service. It reports whether that
// has changed.
func (r *Registry) SetFaults(faults map[string]string) bool {
	old := r.faults.Swap(&faults)
	return old == nil && len(faults) > 0 || old != nil && !maps.Equal(*old, faults)
}

// Fault returns why clients cannot reach a service on this machine; "" if they can.
func (r *Registry) Fault(service string) string {
	if faults := r.faults.Load(); faults != nil {
		return (*faults)[service]
	}
	return ""
}

// Find returns the view of a service; false if there is no such service.
func (r *Registry) Find(name string, now time.Time) (View, bool) {
	s, ok := r.current.Load().ByName[name]
	if !ok {
		return View{}, false
	}
	return r.View(s, now), true
}

// View reads the latest results of a service and the force in effect. Balancers poll every other second, so
// it makes a single allocation for up to 16 checks without a force.
func (r *Registry) View(s *Service, now time.Time) View {
	all := make([]Check, len(s.Depends)+len(s.Metrics))
	v := View{Name: s.Name, Checks: all, Depends: all[:len(s.Depends):len(s.Depends)], Metrics: all[len(s.Depends):]}
	var few [16]score.Reading // on the stack; more are allocated
	readings := few[:0]
	for i, j := range s.Depends {
		v.Depends[i] = latest(j)
		readings = append(readings, v.Depends[i].Reading)
	}
	for i, j := range s.Metrics {
		v.Metrics[i] = latest(j)
		readings = append(readings, v.Metrics[i].Reading)
	}
	v.Measured = score.Measured(now, readings[:len(s.Depends)], readings[len(s.Depends):])
	if v.Fault = r.Fault(s.Name); v.Fault != "" {
		v.Measured = 0
	}
	v.Health = v.Measured
	if f, ok := r.forces.InEffect(s.Name, now); ok {
		forced := f // a copy, so that f itself stays on the stack when nothing is forced
		v.Forced = &forced
		v.Health = f.Override().Apply(v.Measured)
	}
	return v
}

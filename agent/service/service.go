// Package service holds the services of a configuration with their checks, and computes the health of each.
package service

import (
	"errors"
	"fmt"
	"slices"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/config"
)

// Set is the services of one configuration. It is immutable.
type Set struct {
	Services []*Service // sorted by name
	ByName   map[string]*Service
}

// Service is one service. It is immutable; its jobs keep the results.
type Service struct {
	Name    string
	Depends []*schedule.Job // in the order of the configuration, like Metrics
	Metrics []*schedule.Job
}

// Jobs lists the checks of all services.
func (s *Set) Jobs() []*schedule.Job {
	var all []*schedule.Job
	for _, svc := range s.Services {
		all = append(append(all, svc.Depends...), svc.Metrics...)
	}
	return all
}

// JobsNotIn lists the jobs of s that old does not have.
func (s *Set) JobsNotIn(old *Set) []*schedule.Job {
	in := map[*schedule.Job]bool{}
	for _, j := range old.Jobs() {
		in[j] = true
	}
	return slices.DeleteFunc(s.Jobs(), func(j *schedule.Job) bool { return in[j] })
}

// Builder builds sets.
type Builder struct {
	Host     check.Host
	Hostname string // part of each check's phase, see schedule.NewJob
}

// Build returns the set of a configuration. Jobs of old with an unchanged configuration are reused, running and
// with their results; new jobs are not started. old may be nil.
func (b Builder) Build(cfg *config.Config, old *Set) (*Set, error) {
	s := &Set{ByName: map[string]*Service{}}
	var spare []*schedule.Job
	if old != nil {
		spare = old.Jobs()
	}
	var errs []error
	for _, c := range cfg.Services {
		svc := &Service{Name: c.Name}
		for i, d := range slices.Concat(c.Depends, c.Metrics) {
			j, err := b.job(c.Name, d, i, &spare)
			if err != nil {
				errs = append(errs, fmt.Errorf("service %s: %w", c.Name, err))
				continue
			}
			if d.Role == config.Dependency {
				svc.Depends = append(svc.Depends, j)
			} else {
				svc.Metrics = append(svc.Metrics, j)
			}
		}
		s.Services = append(s.Services, svc)
		s.ByName[c.Name] = svc
	}
	return s, errors.Join(errs...)
}

// job moves a matching job out of spare, or makes one.
func (b Builder) job(service string, cfg config.Check, index int, spare *[]*schedule.Job) (*schedule.Job, error) {
	i := slices.IndexFunc(*spare, func(j *schedule.Job) bool { return j.Matches(service, cfg) })
	if i >= 0 {
		j := (*spare)[i]
		*spare = slices.Delete(*spare, i, i+1)
		return j, nil
	}
	c, err := check.New(cfg, b.Host)
	if err != nil {
		return nil, err
	}
	return schedule.NewJob(service, cfg, c, b.Hostname, index), nil
}

package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/config"
)

// setOf makes a set of one service.
func setOf(s *service.Service) *service.Set {
	return &service.Set{Services: []*service.Service{s}, ByName: map[string]*service.Service{s.Name: s}}
}

func TestTheLogSaysWhenAServiceGoesDownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		j := schedule.NewJob("web", config.Check{Role: config.Dependency, Interval: time.Second, Timeout: time.Second / 2},
			&agenttest.Check{
				Do: func(context.Context, int) check.Result {
					if failing.Load() {
						return check.Result{Detail: "status 500"}
					}
					return check.Result{OK: true}
				},
			}, "app01", 0)
		log := &agenttest.Log{}
		a := &Agent{log: log.Logger()}
		cfg := configIn(t.TempDir(), config.Service{Name: "web"})
		store, err := a.openForces(cfg)
		if err != nil {
			t.Fatal(err)
		}
		a.wire(cfg.Agent, setOf(&service.Service{Name: "web", Depends: []*schedule.Job{j}}), store)
		ctx, cancel := context.WithCancel(t.Context())
		a.jobs.Start(ctx, []*schedule.Job{j})
		schedule.WaitForResults(ctx, time.Minute, []*schedule.Job{j})
		ended := make(chan struct{})
		go func() { defer close(ended); a.monitor(ctx) }()
		time.Sleep(10 * time.Second)
		failing.Store(true)
		time.Sleep(10 * time.Second)
		failing.Store(false)
		time.Sleep(10 * time.Second)
		cancel()
		a.jobs.Stop([]*schedule.Job{j})
		<-ended
		if up, down := log.Count("service is up"), log.Count("service is down", "status 500"); up != 2 || down != 1 {
			t.Errorf("up %d times, down %d times, want 2 and 1:\n%s", up, down, log)
		}
	})
}

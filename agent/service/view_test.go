package service

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// newRegistry makes a registry with the service web, which has one dependency that passes and has not run yet.
func newRegistry(t *testing.T) (*Registry, *schedule.Job, *force.Store) {
	t.Helper()
	store, _, err := force.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Check{Role: config.Dependency, Type: "scripted", Interval: 3 * time.Second, Timeout: time.Second}
	j := schedule.NewJob("web", cfg, agenttest.Passing(), "app01", 0)
	web := &Service{Name: "web", Depends: []*schedule.Job{j}}
	return NewRegistry(&Set{Services: []*Service{web}, ByName: map[string]*Service{"web": web}}, store), j, store
}

func TestAViewExplainsTheHealthAsResultsComeAndGoStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, j, _ := newRegistry(t)
		want := func(health int, cause string) {
			t.Helper()
			now := time.Now()
			if v, ok := r.Find("web", now); !ok || v.Health != health || v.Cause(now) != cause {
				t.Errorf("health %d because %q; want %d because %q", v.Health, v.Cause(now), health, cause)
			}
		}
		want(0, "Dependency::Scripted(x): has not run yet")
		j.RunOnce(t.Context(), new(agenttest.Log).Logger())
		want(100, "measured")
		time.Sleep(9 * time.Second)
		want(100, "measured")
		time.Sleep(time.Millisecond)
		want(0, "Dependency::Scripted(x): no result for 9.001s (interval 3s); previously: ")
	})
	r, _, _ := newRegistry(t)
	if _, ok := r.Find("nope", time.Now()); ok {
		t.Error("an unknown service is found")
	}
}

func TestAViewChangesAtTheNextExpiryOrStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, j, store := newRegistry(t)
		want := func(after time.Duration) {
			t.Helper()
			now := time.Now()
			v, _ := r.Find("web", now)
			if at := v.ChangesAt(now); after == 0 && !at.IsZero() || after > 0 && at.Sub(now) != after {
				t.Errorf("it changes at %s, want in %s", at, after)
			}
		}
		want(0)
		j.RunOnce(t.Context(), new(agenttest.Log).Logger())
		want(9*time.Second + 1)
		f := force.Force{Service: "web", Kind: score.Down, Reason: "x", Who: "kim", At: time.Now(),
			Expires: time.Now().Add(5 * time.Second)}
		if err := store.Put(f); err != nil {
			t.Fatal(err)
		}
		want(5 * time.Second)
		time.Sleep(5 * time.Second)
		want(4*time.Second + 1)
		time.Sleep(5 * time.Second)
		want(0)
	})
}

func TestAFaultIsHealth0UnlessAnOperatorForcesTheServiceUp(t *testing.T) {
	r, j, store := newRegistry(t)
	j.RunOnce(t.Context(), new(agenttest.Log).Logger())
	now := time.Now()
	if !r.SetFaults(map[string]string{"web": "tunl0 is down"}) || r.SetFaults(map[string]string{"web": "tunl0 is down"}) {
		t.Error("SetFaults does not tell a change")
	}
	if v, _ := r.Find("web", now); v.Health != 0 || v.Measured != 0 || v.Cause(now) != "tunnel: tunl0 is down" {
		t.Errorf("%+v because %q", v, v.Cause(now))
	}
	if err := store.Put(force.Force{Service: "web", Kind: score.Up, Reason: "x", Who: "kim", At: now}); err != nil {
		t.Fatal(err)
	}
	if v, _ := r.Find("web", now); v.Health != 100 || v.Measured != 0 || v.Fault == "" {
		t.Errorf("%+v", v)
	}
	if !r.SetFaults(nil) {
		t.Error("SetFaults does not tell a change")
	}
	if v, _ := r.Find("web", now); v.Measured != 100 || v.Fault != "" {
		t.Errorf("%+v", v)
	}
}

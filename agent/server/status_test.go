package server

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/config"
)

// TestACachedPageIsUpToDate compares it with a new page at every step, while results arrive, change, are missing and
// go stale, and forces are set, deleted and expire.
func TestACachedPageIsUpToDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results, rand := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
		b := newBubble(t, time.Second, &agenttest.Check{Do: func(ctx context.Context, _ int) check.Result {
			if results.IntN(8) == 0 {
				time.Sleep(time.Duration(results.IntN(8)) * time.Second) // ignores its timeout
			}
			return check.Result{OK: results.IntN(3) > 0}
		}}, nil)
		page := (*b.pages.Load())["web"]
		rendered, bodies := map[*statusPage]bool{}, map[string]bool{}
		const steps = 5000
		for range steps {
			f := force.Force{Service: "web", Kind: score.Kinds()[rand.IntN(3)], Value: rand.IntN(101), Reason: "test", Who: "kim",
				At: time.Now()}
			if rand.IntN(4) == 0 {
				f.Service = ""
			}
			switch rand.IntN(60) {
			case 0:
				f.Expires = time.Now().Add(time.Duration(1+rand.IntN(5000)) * time.Millisecond)
				if err := b.opts.Changes.Store.Put(f); err != nil {
					t.Fatal(err)
				}
			case 1:
				if _, _, err := b.opts.Changes.Store.Delete(f.Service, f.Kind); err != nil {
					t.Fatal(err)
				}
			case 2:
				if _, err := b.opts.Changes.Store.Expire(time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			synctest.Wait()
			now := time.Now()
			cached, fresh := b.statusPage(page, now), b.newStatusPage(b.opts.Services.View(page.service, now), now)
			if diff := cmp.Diff(string(fresh.body), string(cached.body)) + cmp.Diff(fresh.header, cached.header); diff != "" ||
				cached.status != fresh.status {
				t.Fatalf("the page is %d, want %d (-want +cached):\n%s", cached.status, fresh.status, diff)
			}
			rendered[cached], bodies[string(cached.body)] = true, true
		}
		if len(rendered) > steps/2 || len(bodies) < 10 {
			t.Errorf("%d pages were rendered, %d of them different, in %d steps", len(rendered), len(bodies), steps)
		}
	})
}

func TestAgesInJSONHaveWholeMilliseconds(t *testing.T) {
	now := time.Now()
	for ms := range 3000 {
		c := service.Check{
			Job: &schedule.Job{}, Result: &schedule.Result{},
			Reading: score.Reading{At: now.Add(-time.Duration(ms)*time.Millisecond - 499*time.Microsecond)},
		}
		age, err := json.Marshal(result(c, now).Age)
		if want := strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64); err != nil || string(age) != want {
			t.Fatalf("an age of %d ms is %s, %v", ms, age, err)
		}
	}
}

// The order in which results go stale does not matter.
func TestACachedPageIsValidUntilTheFirstResultGoesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, now := newBubble(t, time.Hour, agenttest.Passing(), nil), time.Now()
		for _, intervals := range [][]time.Duration{{time.Second, time.Hour}, {time.Hour, time.Second}} {
			var v service.View
			for _, interval := range intervals {
				j := schedule.NewJob("web", config.Check{Interval: interval, Timeout: interval}, agenttest.Passing(), "app01", 0)
				j.RunOnce(t.Context(), b.log.Logger())
				reading, r := j.Reading()
				v.Checks = append(v.Checks, service.Check{Job: j, Reading: reading, Result: r})
			}
			p, stale := b.newStatusPage(v, now), now.Add(3*time.Second+1)
			if !p.valid(stale.Add(-1)) || p.valid(stale) {
				t.Errorf("intervals %s: valid just before the first is stale: %v, then: %v; want true, then false",
					intervals, p.valid(stale.Add(-1)), p.valid(stale))
			}
		}
	})
}

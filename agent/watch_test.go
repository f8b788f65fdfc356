package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
)

func TestTheLogSaysWhenAServiceGoesDownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		log := &agenttest.Log{}
		b := newBubble(t, time.Second, &agenttest.Check{Do: func(context.Context, int) check.Result {
			if failing.Load() {
				return check.Result{Detail: "status 500"}
			}
			return check.Result{OK: true}
		}})
		b.log = log.Logger()
		ctx, cancel := context.WithCancel(t.Context())
		watched := make(chan struct{})
		go func() { defer close(watched); b.watch(ctx) }()
		time.Sleep(10 * time.Second)
		failing.Store(true)
		time.Sleep(10 * time.Second)
		failing.Store(false)
		time.Sleep(10 * time.Second)
		cancel()
		<-watched
		if up, down := log.Count("service is up"), log.Count("service is down", "status 500"); up != 2 || down != 1 {
			t.Errorf("up %d times, down %d times, want 2 and 1:\n%s", up, down, log)
		}
	})
}

var errLoad = errors.New("lb.toml:3: nonsense")

package balancer

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/systemd"
	"github.com/braintree/lb/netx/systemd/systemdtest"
)

// notifyTimeout is how long a test waits for a notification. A busy machine may delay it.
const notifyTimeout = 30 * time.Second

// serviceManager is a fake of the service manager, with a notifier that was started under it. next returns the next notification, or
// "" if none arrives in time.
func serviceManager(t *testing.T, watchdog time.Duration) (n *systemd.Notifier, next func(timeout time.Duration) string) {
	t.Helper()
	m := systemdtest.New(t, watchdog)
	n, err := systemd.New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return n, func(timeout time.Duration) string { t.Helper(); return m.Next(t, timeout) }
}

func TestServiceManagerNotifications(t *testing.T) {
	notifier, next := serviceManager(t, time.Hour)
	_, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	o := options(cfg)
	reload := make(chan struct{}, 1)
	broken := false
	o.Reload, o.Manager = reload, notifier
	o.Load = func() (*config.Config, error) {
		if broken {
			return nil, errors.New("lb.toml:3: no")
		}
		return cfg, nil
	}
	t.Run("while it runs", func(t *testing.T) {
		runDaemon(t, o)
		for _, want := range []string{"READY=1\nSTATUS=running, and the kernel is up to date", "RELOADING=1\nMONOTONIC_USEC=",
			"READY=1\nSTATUS=1 clusters",
			"RELOADING=1\nMONOTONIC_USEC=", "READY=1\nSTATUS=the last reload was refused"} {
			got := next(notifyTimeout)
			if !strings.HasPrefix(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if strings.HasPrefix(got, "READY=1") && !strings.Contains(got, "refused") {
				broken = strings.Contains(got, "clusters")
				reload <- struct{}{}
			}
		}
	})
	if got := next(notifyTimeout); got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("at the stop: %q", got)
	}
}

func TestTheEngineKicksTheWatchdog(t *testing.T) {
	notifier, next := serviceManager(t, 50*time.Millisecond)
	_, node := fakeAgent(t)
	o := options(daemonConfig(t, node))
	o.Manager = notifier
	b, _ := runDaemon(t, o)
	for kicks := 0; kicks < 3; {
		switch next(notifyTimeout) {
		case "WATCHDOG=1":
			kicks++
		case "":
			t.Fatal("no watchdog notification")
		}
	}
	// While the engine is blocked, one kick that was already sent may still arrive, and then none.
	blocked, release := make(chan struct{}), make(chan struct{})
	var order sync.WaitGroup
	order.Go(func() {
		if err := b.engine.do(t.Context(), func(context.Context) { close(blocked); <-release }); err != nil {
			t.Error(err)
		}
	})
	<-blocked
	for next(20*time.Millisecond) != "" {
	}
	if got := next(200 * time.Millisecond); got != "" {
		t.Errorf("with a blocked engine: %q", got)
	}
	close(release)
	order.Wait()
	if got := next(notifyTimeout); got != "WATCHDOG=1" {
		t.Errorf("after the engine is unblocked: %q", got)
	}
}

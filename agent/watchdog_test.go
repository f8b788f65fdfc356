package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/netx/systemd"
	"github.com/braintree/lb/netx/systemd/systemdtest"
)

// manager is a fake of the service manager, with a notifier that was started under it.
func manager(t *testing.T, log *agenttest.Log, watchdog time.Duration) (*systemd.Notifier, *systemdtest.Manager) {
	t.Helper()
	m := systemdtest.New(t, watchdog)
	n, err := systemd.New(log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	return n, m
}

func TestTheServiceManagerIsNotified(t *testing.T) {
	log := &agenttest.Log{}
	n, m := manager(t, log, time.Hour)
	b, stop := runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Manager = n })
	want := func(text string) {
		t.Helper()
		if got := m.Next(t, patience); !strings.HasPrefix(got, text) {
			t.Errorf("%q, want %q", got, text)
		}
	}
	want("READY=1\nSTATUS=1 services")
	b.reload <- struct{}{}
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1\nSTATUS=1 services")
	c := configIn(shortDir(t), webapp("true"))
	c.Agent.Tunnel.Enabled = true // which this program cannot set up
	b.configure(c, nil)
	b.reload <- struct{}{}
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1\nSTATUS=1 services; the tunnel is not set up, see the log")
	b.configure(nil, errLoad)
	b.reload <- struct{}{}
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1\nSTATUS=1 services; the last reload was refused, see the log")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	want("STOPPING=1\n")
}

func TestTheWatchdogIsNotified(t *testing.T) {
	n, m := manager(t, &agenttest.Log{}, 50*time.Millisecond)
	runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Manager = n })
	for kicks := 0; kicks < 3; {
		switch got := m.Next(t, patience); got {
		case "":
			t.Fatal("no notification")
		case "WATCHDOG=1":
			kicks++
		}
	}
}

func TestTheWatchdogIsNotNotifiedIfTheMonitorHangs(t *testing.T) {
	n, m := manager(t, &agenttest.Log{}, time.Hour)
	b := newBench(t, configIn(shortDir(t), webapp("true"))) // its monitor does not run
	b.opts.Manager = n
	now := time.Now()
	round := now.Add(-monitorTimeout)
	b.monitored.Store(&round)
	b.notifyWatchdog(now)
	if got := m.Next(t, patience); got != "WATCHDOG=1" {
		t.Errorf("just in time: %q", got)
	}
	b.notifyWatchdog(now.Add(time.Millisecond))
	if got := m.Next(t, 50*time.Millisecond); got != "" || b.log.Count("the agent hangs") != 1 {
		t.Errorf("too late: %q, log:\n%s", got, b.log)
	}
}

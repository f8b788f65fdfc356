package agent

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/netx/systemd"
)

// manager is a fake of the service manager. It returns the notifier and the socket that receives the notifications.
func manager(t *testing.T, log *agenttest.Log, watchdog time.Duration) (*systemd.Notifier, *net.UnixConn) {
	t.Helper()
	path := filepath.Join(shortDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	m, err := systemd.New(log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	return m, conn
}

// receive returns the next notification, "" if there is none within the time.
func receive(t *testing.T, conn *net.UnixConn, within time.Duration) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestTheServiceManagerIsNotified(t *testing.T) {
	log := &agenttest.Log{}
	m, conn := manager(t, log, time.Hour)
	b, stop := runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Manager = m })
	want := func(text string) {
		t.Helper()
		if got := receive(t, conn, patience); !strings.HasPrefix(got, text) {
			t.Errorf("%q, want %q", got, text)
		}
	}
	want("READY=1\nSTATUS=1 services")
	b.reload <- struct{}{}
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1\nSTATUS=1 services")
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
	m, conn := manager(t, &agenttest.Log{}, 50*time.Millisecond)
	runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Manager = m })
	for kicks := 0; kicks < 3; {
		switch got := receive(t, conn, patience); got {
		case "":
			t.Fatal("no notification")
		case "WATCHDOG=1":
			kicks++
		}
	}
}

func TestTheWatchdogIsNotNotifiedIfTheMonitorHangs(t *testing.T) {
	m, conn := manager(t, &agenttest.Log{}, time.Hour)
	b := newBench(t, configIn(shortDir(t), webapp("true"))) // its monitor does not run
	b.opts.Manager = m
	now := time.Now()
	round := now.Add(-monitorTimeout)
	b.monitored.Store(&round)
	b.notifyWatchdog(now)
	if got := receive(t, conn, patience); got != "WATCHDOG=1" {
		t.Errorf("just in time: %q", got)
	}
	b.notifyWatchdog(now.Add(time.Millisecond))
	if got := receive(t, conn, 50*time.Millisecond); got != "" || b.log.Count("the agent hangs") != 1 {
		t.Errorf("too late: %q, log:\n%s", got, b.log)
	}
}

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

	"github.com/braintree/lb/netx/systemd"
)

// manager is a service manager that a test listens for.
func manager(t *testing.T, log *logged, watchdog time.Duration) (*systemd.Notifier, *net.UnixConn) {
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
	m, err := systemd.New(log.logger())
	if err != nil {
		t.Fatal(err)
	}
	return m, conn
}

// hear gives the next thing that the manager is told; "" when there is none within the time.
func hear(t *testing.T, conn *net.UnixConn, within time.Duration) string {
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

func TestTheServiceManagerIsToldHowTheAgentDoes(t *testing.T) {
	log := &logged{}
	m, conn := manager(t, log, time.Hour)
	b, stop := runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Manager = m })
	want := func(text string) {
		t.Helper()
		if got := hear(t, conn, patience); !strings.HasPrefix(got, text) {
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

func TestAnAgentThatWorksGivesSignsOfLife(t *testing.T) {
	m, conn := manager(t, &logged{}, 50*time.Millisecond)
	runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Manager = m })
	for beats := 0; beats < 3; {
		switch got := hear(t, conn, patience); got {
		case "":
			t.Fatal("no sign of life")
		case "WATCHDOG=1":
			beats++
		}
	}
}

func TestAnAgentThatHangsGivesNoSignOfLife(t *testing.T) {
	m, conn := manager(t, &logged{}, time.Hour)
	b := newBench(t, configIn(shortDir(t), webapp("true"))) // its watch does not go round
	b.opts.Manager = m
	now := time.Now()
	round := now.Add(-watchLate)
	b.watched.Store(&round)
	b.signOfLife(now)
	if got := hear(t, conn, patience); got != "WATCHDOG=1" {
		t.Errorf("just in time: %q", got)
	}
	b.signOfLife(now.Add(time.Millisecond))
	if got := hear(t, conn, 50*time.Millisecond); got != "" || b.log.count("the agent hangs") != 1 {
		t.Errorf("too late: %q, log:\n%s", got, b.log)
	}
}

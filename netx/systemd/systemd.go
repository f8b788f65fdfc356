// Package systemd tells the service manager how a daemon does, as sd_notify(3) has it: readiness, reloads, the end, and signs of life.
package systemd

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Manager is the service manager that started this process. A nil Manager is none: then nobody is told.
type Notifier struct {
	log      *slog.Logger
	watchdog time.Duration // without a sign of life for that long, the process is killed; 0 is never
}

// New finds the service manager in the environment; nil when there is none. What it says about the watchdog is taken out of
// the environment, for it is not meant for the processes of checks. NOTIFY_SOCKET stays there, where the unit's NotifyAccess=main
// lets nobody else use it.
func New(log *slog.Logger) (*Notifier, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		return nil, fmt.Errorf("read the watchdog's time from the environment: %w", err)
	}
	return &Notifier{log: log, watchdog: watchdog}, nil
}

// Ready says that the daemon works, or that it has done with a reload. The status is shown by `systemctl status`.
func (m *Notifier) Ready(format string, args ...any) {
	m.tell(daemon.SdNotifyReady + "\nSTATUS=" + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// Reloading says that a reload has begun; Ready has to follow.
func (m *Notifier) Reloading() {
	m.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() + "STATUS=reloading")
}

// Stopping says that the daemon is about to end because it was asked to.
func (m *Notifier) Stopping() { m.tell(daemon.SdNotifyStopping + "\nSTATUS=stopping") }

// Alive is a sign of life. It is for who knows that the daemon does its work, not for a clock of its own.
func (m *Notifier) KickWatchdog() { m.tell(daemon.SdNotifyWatchdog) }

// Beat is how often a sign of life should come: twice within the time that the manager waits, as sd_watchdog_enabled(3)
// recommends. 0: nobody waits.
func (m *Notifier) WatchdogInterval() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog / 2
}

func (m *Notifier) tell(state string) {
	if m == nil {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("the service manager cannot be told", "state", state, "err", err)
	}
}

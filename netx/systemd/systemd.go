// Package systemd notifies the service manager of readiness, reloads, shutdown and watchdog keep-alives, see
// sd_notify(3).
package systemd

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier sends notifications to the service manager that started this process. On a nil Notifier all methods do
// nothing.
type Notifier struct {
	log      *slog.Logger
	watchdog time.Duration // systemd kills the process after this time without a keep-alive; 0 means no watchdog
}

// New finds the service manager in the environment; it returns nil if there is none. It removes the watchdog variables
// from the environment so that the commands of checks do not inherit them. NOTIFY_SOCKET stays: the unit's
// NotifyAccess=main keeps other processes from using it.
func New(log *slog.Logger) (*Notifier, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		return nil, fmt.Errorf("read the watchdog timeout from the environment: %w", err)
	}
	return &Notifier{log: log, watchdog: watchdog}, nil
}

// Ready reports that start-up or a reload is complete. `systemctl status` shows the formatted status.
func (n *Notifier) Ready(format string, args ...any) {
	n.notify(daemon.SdNotifyReady + "\nSTATUS=" + strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// Reloading reports that a reload has begun; Ready must follow.
func (n *Notifier) Reloading() {
	n.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() + "STATUS=reloading")
}

// Stopping reports that the daemon is shutting down on request.
func (n *Notifier) Stopping() { n.notify(daemon.SdNotifyStopping + "\nSTATUS=stopping") }

// KickWatchdog sends a keep-alive. Call it where the daemon's work makes progress, not from an independent timer.
func (n *Notifier) KickWatchdog() { n.notify(daemon.SdNotifyWatchdog) }

// WatchdogInterval is how often to call KickWatchdog: half the watchdog timeout, as sd_watchdog_enabled(3) recommends.
// 0 means no watchdog.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog / 2
}

func (n *Notifier) notify(state string) {
	if n == nil {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("cannot notify the service manager", "state", state, "err", err)
	}
}

package agent

import "time"

// monitorTimeout is how old the monitor's latest round may be before the watchdog is not notified any more. A
// round takes a few microseconds.
const monitorTimeout = 10 * monitorInterval

// watchdogTicker ticks as often as the service manager's watchdog wants to be notified; ticks is nil if there is none.
func (a *Agent) watchdogTicker() (ticks <-chan time.Time, stop func()) {
	every := a.opts.Manager.WatchdogInterval()
	if every == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// notifyWatchdog tells the service manager that the agent works: the loop that reloads (its caller) runs,
// every service can be viewed, and the monitor makes its rounds. If one of them hangs, no notification is
// sent and the manager restarts the agent. A check that hangs is no reason: its service has health 0, and a
// restart would not change that.
func (a *Agent) notifyWatchdog(now time.Time) {
	for _, s := range a.services.Current().Services {
		a.services.View(s, now)
	}
	last := a.monitored.Load()
	if last == nil || now.Sub(*last) > monitorTimeout {
		a.log.Error("the agent hangs: not notifying the watchdog, so the service manager will restart the agent")
		return
	}
	a.opts.Manager.KickWatchdog()
}

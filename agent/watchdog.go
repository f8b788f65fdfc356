package agent

import "time"

// monitorTimeout is the maximum age of the monitor's latest round: if it is older, the watchdog is no longer
// notified. A round takes a few microseconds.
const monitorTimeout = 10 * monitorInterval

// watchdogTicker ticks at the notification interval of the service manager's watchdog; ticks is nil without a watchdog.
func (a *Agent) watchdogTicker() (ticks <-chan time.Time, stop func()) {
	every := a.opts.Manager.WatchdogInterval()
	if every == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// notifyWatchdog notifies the service manager while the agent works: the reload loop (its caller) runs, every
// service can be viewed, and the monitor is up to date. If one of them hangs, no notification is sent and the
// manager restarts the agent. A hanging check does not count: its service has health 0, and a restart would not
// change that.
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

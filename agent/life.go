package agent

import "time"

// watchLate is how long the watch may be silent before the agent gives no sign of life any more: ten of its rounds, which take
// a few microseconds each.
const watchLate = 10 * watchInterval

// signsOfLife gives a tick whenever the service manager wants a sign of life; nil when it wants none. stop ends them.
func (a *Agent) signsOfLife() (ticks <-chan time.Time, stop func()) {
	every := a.opts.Manager.WatchdogInterval()
	if every == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// signOfLife tells the service manager that the agent works: the loop that reloads (its caller) goes round, every service can be
// looked at as for an answer, and the watch goes round. Where one of them hangs there is no sign, and the manager starts the
// agent anew. A check that hangs is no reason: its service has health 0 by then, which a new agent would not mend.
func (a *Agent) signOfLife(now time.Time) {
	for _, s := range a.current.Load().services {
		a.look(s, now)
	}
	last := a.watched.Load()
	if last == nil || now.Sub(*last) > watchLate {
		a.log.Error("the agent hangs: no sign of life is given to the service manager, which will start it anew")
		return
	}
	a.opts.Manager.KickWatchdog()
}

// reloadAndTell reloads and keeps the service manager informed.
func (a *Agent) reloadAndTell(reload func() bool) {
	a.opts.Manager.Reloading()
	refused := ""
	if !reload() {
		refused = "; the last reload was refused, see the log"
	}
	a.opts.Manager.Ready("%d services%s", len(a.current.Load().services), refused)
}

// leaveSockets closes the sockets of the service manager that stand for nothing in the configuration.
func (a *Agent) leaveSockets() {
	for _, key := range a.opts.Sockets.Unclaimed() {
		a.log.Warn("a socket from the service manager is not used: its FileDescriptorName= is no key of the configuration that has an address", "name", key)
	}
	if err := a.opts.Sockets.Close(); err != nil {
		a.log.Warn("a socket from the service manager does not close", "err", err)
	}
}

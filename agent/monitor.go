package agent

import (
	"context"
	"time"
)

// monitorInterval is the maximum delay of log lines about services that went down or came back.
const monitorInterval = time.Second

// monitor logs each change of a service between up and down and between forced and not, and ends expired
// forces, until ctx ends.
func (a *Agent) monitor(ctx context.Context) {
	last := map[string]logged{}
	ticker := time.NewTicker(monitorInterval)
	defer ticker.Stop()
	for {
		a.changes.Expire(time.Now())
		now := time.Now()
		last = a.logChanges(last, now)
		a.monitored.Store(&now)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// logged is the state of a service that the log reports.
type logged struct {
	up     bool
	forced string // the kind of the force in effect; "": none
}

// logChanges logs what changed in each service since last, and returns the current state of each.
func (a *Agent) logChanges(last map[string]logged, now time.Time) map[string]logged {
	current := map[string]logged{}
	for _, s := range a.services.Current().Services {
		v := a.services.View(s, now)
		is := logged{up: v.Health > 0}
		if v.Forced != nil {
			is.forced = string(v.Forced.Kind)
		}
		current[s.Name] = is
		was, known := last[s.Name]
		if known && was == is {
			continue
		}
		switch {
		case !is.up && (!known || was.up):
			a.log.Warn("service is down", "service", s.Name, "health", v.Health, "measured", v.Measured, "cause", v.Cause(now))
		case is.up && !was.up:
			a.log.Info("service is up", "service", s.Name, "health", v.Health, "measured", v.Measured, "cause", v.Cause(now))
		default:
			a.log.Info("force changed", "service", s.Name, "health", v.Health, "measured", v.Measured, "cause", v.Cause(now))
		}
	}
	return current
}

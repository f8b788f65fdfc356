package agent

import (
	"context"
	"time"
)

// watchInterval is how soon the log tells that a service went down or came back.
const watchInterval = time.Second

// watch logs when a service goes down, comes back, is forced or no longer forced, once for each change, and ends the forces whose
// time is over. Each round is noted, for the signs of life.
func (a *Agent) watch(ctx context.Context) {
	seen := map[string]glance{}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		a.endExpired(time.Now())
		now := time.Now()
		seen = a.logChanges(seen, now)
		a.watched.Store(&now)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// glance is what the log tells changes of.
type glance struct {
	up     bool
	forced string // the kind of the force in effect, "" for none
}

// logChanges compares every service with how it was seen last, logs what changed, and gives how they are now.
func (a *Agent) logChanges(seen map[string]glance, now time.Time) map[string]glance {
	next := map[string]glance{}
	for _, s := range a.services.Current().Services {
		v := a.services.View(s, now)
		g := glance{up: v.Health > 0}
		if v.Forced != nil {
			g.forced = string(v.Forced.Kind)
		}
		next[s.Name] = g
		before, known := seen[s.Name]
		if known && before == g {
			continue
		}
		switch {
		case !g.up && (!known || before.up):
			a.log.Warn("service is down", "service", s.Name, "health", v.Health, "measured", v.Measured, "cause", v.Cause(now))
		case g.up && !before.up:
			a.log.Info("service is up", "service", s.Name, "health", v.Health, "measured", v.Measured, "cause", v.Cause(now))
		default:
			a.log.Info("force changed", "service", s.Name, "health", v.Health, "measured", v.Measured, "cause", v.Cause(now))
		}
	}
	return next
}

package watch

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/braintree/lb/balancer/decide"
)

// healthEvent is the part of an agent's "health" event that matters here.
type healthEvent struct {
	Service  *string `json:"service"`
	Health   *int64  `json:"health"`
	Measured *int64  `json:"measured"`
	Reason   string  `json:"reason"`
	Forced   *struct {
		Kind   string `json:"kind"`
		Reason string `json:"reason"`
	} `json:"forced"`
}

// forced reports whether an operator set the health on the agent.
func (e healthEvent) forced() bool {
	return e.Forced != nil && !ceilingIsMoot(e.Forced.Kind, e.Measured != nil && *e.Measured == 0)
}

// result returns the health, 0 or more, and the Detail of its reading, in the words of parseResponse.
func (e healthEvent) result() (health int, detail string) {
	health = int(min(max(*e.Health, 0), decide.MaxWeight+1))
	switch {
	case health > 0:
	case e.forced():
		return 0, forcedDetail(e.Forced.Reason)
	case e.Reason != "":
		return 0, reasonDetail(e.Reason)
	}
	return health, fmt.Sprintf("agent reported health %d", *e.Health)
}

// parseHealthEvent parses the data of a "health" event, which must be about the given service.
func parseHealthEvent(data []byte, service string) (healthEvent, error) {
	var e healthEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("parse event: %w", err)
	}
	switch {
	case e.Health == nil || e.Service == nil:
		return e, errors.New("event without health or service")
	case *e.Service != service:
		return e, fmt.Errorf("event for service %.40q, want %.40q", *e.Service, service)
	}
	return e, nil
}

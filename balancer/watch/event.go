package watch

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/sanitize"
)

// healthEvent is what matters here of the data of an agent's event "health".
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

// forced tells whether the health is an operator's word to the agent.
func (e healthEvent) forced() bool {
	return e.Forced != nil && !idleForce(e.Forced.Kind, e.Measured != nil && *e.Measured == 0)
}

// read gives the health that an event tells about a service, 0 or more, and where it comes from, in the words that polling has for it.
func (e healthEvent) read() (int, string) {
	health := int(min(max(*e.Health, 0), decide.MaxWeight+1))
	switch {
	case health > 0:
		return health, fmt.Sprintf("health %d", *e.Health)
	case e.forced():
		return 0, sanitize.Line("forced: "+e.Forced.Reason, causeLength)
	case e.Reason != "":
		return 0, sanitize.Line(e.Reason, causeLength)
	}
	return 0, fmt.Sprintf("health %d", *e.Health)
}

// parseHealth reads the data of an event "health", which must be about that service.
func parseHealth(data []byte, service string) (healthEvent, error) {
	var e healthEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("an event that cannot be read: %w", err)
	}
	switch {
	case e.Health == nil || e.Service == nil:
		return e, errors.New("an event without a health or a service")
	case *e.Service != service:
		return e, fmt.Errorf("an event about %.40q instead of %.40q", *e.Service, service)
	}
	return e, nil
}

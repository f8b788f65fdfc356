package agent

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/sanitize"
)

// parseHealth reads the number of a forced health.
func parseHealth(s string) (int, error) {
	if s == "" {
		return 0, errors.New("health is missing: give health=N, a whole number from 0 to 100")
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 8)
	if err != nil || n > score.Max {
		return 0, fmt.Errorf("health must be a whole number from 0 to 100, not %q", sanitize.Line(s, 40))
	}
	return int(n), nil
}

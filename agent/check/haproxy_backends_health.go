package check

import (
	"context"
	"fmt"

	"github.com/braintree/lb/config"
)

// haproxyBackendsHealth is a metric that falls when servers of HAProxy are down: the weight of the servers
// that are UP as a share of the weight of all servers, without those that were taken out on purpose.
type haproxyBackendsHealth struct {
	noFloor
	haproxyStats
	weight int
}

func newHAProxyBackendsHealth(c config.Check, _ Host) Check {
	return haproxyBackendsHealth{haproxyStats: decodeHAProxy(c), weight: c.Weight}
}

func (h haproxyBackendsHealth) Run(ctx context.Context) Result {
	rows, err := h.rows(ctx)
	if err != nil {
		return failed("%v", err)
	}
	for _, name := range h.backends {
		if !hasBackend(rows, name) {
			return failed("HAProxy has no backend %s", name)
		}
	}
	up, all := sumWeights(rows)
	if all == 0 {
		return measured(0, h.weight, "no server with a weight is in use")
	}
	return measured(float64(h.weight)*float64(up)/float64(all), h.weight, "weight %d of %d is UP", up, all)
}

// hasBackend looks for the row of the whole backend. HAProxy sends it after those of the servers, so without
// it some may be missing.
func hasBackend(rows []haproxyRow, name string) bool {
	for _, r := range rows {
		if r.backend == name && r.server == "BACKEND" {
			return true
		}
	}
	return false
}

// sumWeights adds up the weights of the servers that are UP, and of all that should be UP.
func sumWeights(rows []haproxyRow) (up, all int) {
	for _, r := range rows {
		if r.server == "BACKEND" || r.takenOut() {
			continue
		}
		all += r.weight
		if r.up() {
			up += r.weight
		}
	}
	return up, all
}

// Display is litmus_paper's name, which does not include the socket.
func (h haproxyBackendsHealth) Display() string {
	return fmt.Sprintf("Metric::HaproxyBackendsHealth(%d, %s)", h.weight, h.shown())
}

package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/braintree/lb/config"
)

// haproxyBackends is a dependency on backends of HAProxy. It is up if each of them is UP and has a server
// that takes traffic.
type haproxyBackends struct {
	noFloor
	haproxyStats
}

func newHAProxyBackends(c config.Check, _ Host) Check {
	return haproxyBackends{haproxyStats: decodeHAProxy(c)}
}

func (h haproxyBackends) Run(ctx context.Context) Result {
	rows, err := h.rows(ctx)
	if err != nil {
		return failed("%v", err)
	}
	problems := backendProblems(rows, h.backends)
	if len(problems) > 0 {
		return failed("%s", strings.Join(problems, "; "))
	}
	return passed("UP: %s", h.shown())
}

// backendProblems says what is wrong with the backends, in the order of the configuration.
func backendProblems(rows []haproxyRow, backends []string) []string {
	found := map[string]haproxyRow{}
	for _, r := range rows {
		if r.server == "BACKEND" {
			found[r.backend] = r
		}
	}
	var problems []string
	for _, name := range backends {
		r, ok := found[name]
		switch {
		case !ok:
			problems = append(problems, "HAProxy has no backend "+name)
		case !r.up():
			problems = append(problems, name+" is "+r.status)
		case r.weight == 0: // a backend without servers is UP, too
			problems = append(problems, name+" has no server that takes traffic")
		}
	}
	return problems
}

func (h haproxyBackends) Display() string {
	return fmt.Sprintf("Dependency::HaproxyBackends(%s, %s)", h.socket, h.shown())
}

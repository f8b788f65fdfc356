package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/braintree/lb/config"
)

// haproxyBackends is a dependency on backends of a HAProxy: well when every one of them is UP and has a server to send to.
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
		return bad("%v", err)
	}
	problems := judgeBackends(rows, h.backends)
	if len(problems) > 0 {
		return bad("%s", strings.Join(problems, "; "))
	}
	return good("UP: %s", h.shown())
}

// judgeBackends tells what is wrong with each backend that is not well, in the order of the configuration.
func judgeBackends(rows []haproxyRow, backends []string) []string {
	whole := map[string]haproxyRow{}
	for _, r := range rows {
		if r.server == "BACKEND" {
			whole[r.backend] = r
		}
	}
	var problems []string
	for _, name := range backends {
		r, found := whole[name]
		switch {
		case !found:
			problems = append(problems, "HAProxy has no backend "+name)
		case !r.up():
			problems = append(problems, name+" is "+r.status)
		case r.weight == 0: // UP is also what has no servers at all
			problems = append(problems, name+" has no server that takes traffic")
		}
	}
	return problems
}

func (h haproxyBackends) Display() string {
	return fmt.Sprintf("Dependency::HaproxyBackends(%s, %s)", h.socket, h.shown())
}

package check

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sanitize"
)

// maxHosts bounds the hosts of an internet_health, which are all asked at once.
const maxHosts = 64

// internetHealth is a metric that falls with the hosts that cannot be reached: weight · reachable / all.
type internetHealth struct {
	noFloor
	hosts   []string // host:port
	weight  int
	timeout time.Duration // for all of them together, as they are asked at once
}

func newInternetHealth(c config.Check, _ Host) Check {
	o := c.Options
	m := internetHealth{hosts: o.Strings("hosts"), weight: c.Weight, timeout: c.Timeout}
	const fix = `give hosts and ports that others run, such as ["www.example.com:443", "192.0.2.1:53"]`
	switch {
	case !o.Has("hosts"):
		o.Invalid("hosts", "is missing", fix)
	case len(m.hosts) == 0:
		o.Invalid("hosts", "names none", fix)
	case len(m.hosts) > maxHosts:
		o.Invalid("hosts", fmt.Sprintf("names %d, %d are the most", len(m.hosts), maxHosts), "name those that tell most")
	}
	for i, host := range m.hosts {
		if problem := badAddress(host); problem != "" {
			o.Invalid("hosts", fmt.Sprintf("%q %s", sanitize.Line(host, 60), problem), fix)
		} else if slices.Contains(m.hosts[:i], host) {
			o.Invalid("hosts", fmt.Sprintf("names %q twice", host), "name each once, or it counts twice")
		}
	}
	return m
}

func (m internetHealth) Run(ctx context.Context) Result {
	if err := ctx.Err(); err != nil {
		return bad("%v", reason(ctx, err, m.timeout))
	}
	failures := make([]error, len(m.hosts))
	var asked sync.WaitGroup
	for i, host := range m.hosts {
		asked.Go(func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
			if err != nil {
				failures[i] = fmt.Errorf("%s: %w", host, reason(ctx, err, m.timeout))
				return
			}
			conn.Close() // nothing was sent
		})
	}
	asked.Wait()
	var missing []string
	for _, err := range failures {
		if err != nil {
			missing = append(missing, err.Error())
		}
	}
	reachable := len(m.hosts) - len(missing)
	said := fmt.Sprintf("%d of %d hosts are reachable", reachable, len(m.hosts))
	if len(missing) > 0 {
		said += "; " + strings.Join(missing, "; ")
	}
	return measured(float64(m.weight)*float64(reachable)/float64(len(m.hosts)), m.weight, "%s", said)
}

// Display is litmus_paper's, which ends with the options that were given; lb's are those of every check.
func (m internetHealth) Display() string {
	quoted := make([]string, len(m.hosts))
	for i, host := range m.hosts {
		quoted[i] = `"` + host + `"`
	}
	return fmt.Sprintf("Metric::InternetHealth(%d, [%s], {})", m.weight, strings.Join(quoted, ", "))
}

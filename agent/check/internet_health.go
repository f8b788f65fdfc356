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

// maxHosts is the maximum number of hosts. All are contacted at the same time.
const maxHosts = 64

// internetHealth is a metric that falls when hosts are unreachable: weight · reachable / all.
type internetHealth struct {
	noFloor
	hosts   []string // host:port
	weight  int
	timeout time.Duration // for all hosts together
}

func newInternetHealth(c config.Check, _ Host) Check {
	o := c.Options
	m := internetHealth{hosts: o.Strings("hosts"), weight: c.Weight, timeout: c.Timeout}
	const fix = `give hosts and ports on the internet, such as ["www.example.com:443", "192.0.2.1:53"]`
	switch {
	case !o.Has("hosts"):
		o.Invalid("hosts", "is missing", fix)
	case len(m.hosts) == 0:
		o.Invalid("hosts", "is empty", fix)
	case len(m.hosts) > maxHosts:
		o.Invalid("hosts", fmt.Sprintf("lists %d hosts, at most %d are allowed", len(m.hosts), maxHosts), "keep the most significant ones")
	}
	for i, host := range m.hosts {
		if problem := badAddress(host); problem != "" {
			o.Invalid("hosts", fmt.Sprintf("%q %s", sanitize.Line(host, 60), problem), fix)
		} else if slices.Contains(m.hosts[:i], host) {
			o.Invalid("hosts", fmt.Sprintf("lists %q twice", host), "list each host once")
		}
	}
	return m
}

func (m internetHealth) Run(ctx context.Context) Result {
	if err := ctx.Err(); err != nil {
		return failed("%v", reason(ctx, err, m.timeout))
	}
	failures := make([]error, len(m.hosts))
	var connecting sync.WaitGroup
	for i, host := range m.hosts {
		connecting.Go(func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
			if err != nil {
				failures[i] = fmt.Errorf("%s: %w", host, reason(ctx, err, m.timeout))
				return
			}
			conn.Close() // nothing was sent
		})
	}
	connecting.Wait()
	var unreachable []string
	for _, err := range failures {
		if err != nil {
			unreachable = append(unreachable, err.Error())
		}
	}
	reachable := len(m.hosts) - len(unreachable)
	detail := fmt.Sprintf("%d of %d hosts are reachable", reachable, len(m.hosts))
	if len(unreachable) > 0 {
		detail += "; " + strings.Join(unreachable, "; ")
	}
	return measured(float64(m.weight)*float64(reachable)/float64(len(m.hosts)), m.weight, "%s", detail)
}

// Display is litmus_paper's name, which ends with a hash of further options. lb has none.
func (m internetHealth) Display() string {
	quoted := make([]string, len(m.hosts))
	for i, host := range m.hosts {
		quoted[i] = `"` + host + `"`
	}
	return fmt.Sprintf("Metric::InternetHealth(%d, [%s], {})", m.weight, strings.Join(quoted, ", "))
}

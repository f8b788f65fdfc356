package check

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/braintree/lb/config"
)

// maxMaxconn is the maximum of the option maxconn. Anything above it is a typo.
const maxMaxconn = 1_000_000

// socketUse is the load of a listening socket.
type socketUse struct {
	listeners int // listening sockets; several with SO_REUSEPORT
	active    int // accepted connections
	queued    int // connections that wait to be accepted
}

// socketUtilization is the common part of the metrics on listening sockets. Their floor is 1, like that of
// all load metrics, but only while something listens, so it is part of the measurement.
type socketUtilization struct {
	noFloor
	weight, maxconn int
	timeout         time.Duration
	name, where     string // TcpSocketUtilization or UnixSocketUtilization, and "address: …" or "path: …"
}

// decodeMaxconn reads the option that the metrics on listening sockets have in common.
func decodeMaxconn(o config.Options) int {
	maxconn := o.Int("maxconn", 1, 1, maxMaxconn)
	if !o.Has("maxconn") {
		o.Invalid("maxconn", "is missing", "give the number of connections that the service handles at once, such as maxconn = 100")
	}
	return maxconn
}

// result makes the result of a run. If nothing listens, the service accepts no connections, which is a
// measurement of 0.
func (m socketUtilization) result(ctx context.Context, use socketUse, err error) Result {
	if err != nil {
		return failed("%v", reason(ctx, err, m.timeout))
	}
	shown := m.display(fmt.Sprintf("active: %d, queued: %d, utilization: %d, ", use.active, use.queued, use.utilization(m.maxconn)))
	if use.listeners == 0 {
		r := measured(0, m.weight, "nothing listens there")
		r.Shown = shown
		return r
	}
	r := measured(use.points(m.weight, m.maxconn), m.weight, "%d queued, %d active, maxconn %d", use.queued, use.active, m.maxconn)
	r.Shown = shown
	r.Samples = []Sample{
		{Name: "socket_active", Value: float64(use.active)},
		{Name: "socket_queued", Value: float64(use.queued)},
		{Name: "socket_utilization", Value: float64(use.utilization(m.maxconn))},
	}
	return r
}

// points is litmus_paper's formula: the full weight while nothing is queued; otherwise
// weight − weight·active/(3·maxconn) − 2·weight·queued/(3·maxconn), at least 1.
func (u socketUse) points(weight, maxconn int) float64 {
	w, third := float64(weight), 3*float64(maxconn)
	if u.queued == 0 {
		return w
	}
	return max(w-w*float64(u.active)/third-2*w*float64(u.queued)/third, 1)
}

// utilization is the queue in percent of maxconn.
func (u socketUse) utilization(maxconn int) int {
	return int(math.Round(float64(u.queued) / float64(maxconn) * 100))
}

// Display is litmus_paper's line without the figures, which differ from run to run.
func (m socketUtilization) Display() string { return m.display("") }

func (m socketUtilization) display(figures string) string {
	return fmt.Sprintf("Metric::%s(weight: %d, maxconn: %d, %s%s)", m.name, m.weight, m.maxconn, figures, m.where)
}

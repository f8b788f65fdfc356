package balancer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/sse"
)

// stopwatch is a table that sends the time of each change.
type stopwatch struct {
	*ipvs.Memory
	changed chan time.Time
}

func (s *stopwatch) Apply(ctx context.Context, changes []ipvs.Change) []error {
	errs := s.Memory.Apply(ctx, changes)
	if len(changes) > 0 {
		s.changed <- time.Now()
	}
	return errs
}

// BenchmarkEventToTable measures the time from an agent's event on a stream to the weight in a table in memory, in a whole balancer. The
// events are more than minGap apart, so that none waits for the reconcile of the previous one.
func BenchmarkEventToTable(b *testing.B) {
	health, sent := make(chan int), make(chan time.Time, 1)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Health", "92")
		if r.URL.Path != "/web/watch" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Heartbeat", "0.1")
		send := func(n int) {
			_, _ = w.Write(sse.Frame("", "health", fmt.Sprintf(`{"service":"web","health":%d}`, n)))
			_ = http.NewResponseController(w).Flush()
		}
		send(92)
		beat := time.NewTicker(500 * time.Millisecond)
		defer beat.Stop()
		for {
			select {
			case n := <-health:
				sent <- time.Now()
				send(n)
			case <-beat.C:
				_, _ = io.WriteString(w, sse.Heartbeat)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer agent.Close()
	address := netip.MustParseAddrPort(agent.Listener.Addr().String())
	cfg := daemonConfig(b, config.Node{Address: address.Addr(), Port: address.Port(), Path: "/web/status"})
	c := &cfg.Clusters[0]
	c.CheckInterval, c.CheckTimeout, c.Autostart, c.Watch = 2*time.Second, time.Second, true, config.WatchAuto
	o, table := options(cfg), &stopwatch{ipvs.NewMemory(), make(chan time.Time)}
	o.Table = table
	_, stop := runDaemon(b, o)
	defer stop()
	<-table.changed // the start
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		<-time.After(2 * minGap)
		b.StartTimer()
		health <- 50 + i%2
		took = append(took, (<-table.changed).Sub(<-sent))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

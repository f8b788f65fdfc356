//go:build bench

package peers

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

const (
	restarts    = 3
	requestRate = 50 // new connections per second
	mark        = 7  // of the testbed's cluster
)

// TestRestart prints the cost of a restart under load: how long no real server had weight in the kernel, and how many requests failed. lb
// has set the marks, which all programs need, and prepared the real servers.
func TestRestart(t *testing.T) {
	o := testbed.Options{Binary: binary(t), Nodes: 3, Scheduler: "wrr", CheckInterval: time.Second}
	s, err := testbed.New(t.Context(), slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	table := openTable(t, s.BalancerHost)
	var nodes []netip.Addr
	for _, app := range s.Apps {
		nodes = append(nodes, app.Address)
	}
	if err := s.Balancer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitServing(t, table, len(nodes))
	r := newReport(t)
	r.line("%d restarts of each under %d new connections per second, three real servers", restarts, requestRate)

	b := &restartable{"lb", func() { must(t, s.Balancer.Stop()) }, func() { must(t, s.Balancer.Start(t.Context())) }}
	r.line("%s", b.measure(t, s, table))
	must(t, s.Balancer.Stop())
	for _, w := range []watcher{{"keepalived", startKeepalived}, {"ldirectord", startLdirectord}} {
		labtest.Run(t, s.BalancerHost, "ipvsadm", "-C")
		start := func() func() {
			p := w.start(t, s.BalancerHost, []service{{mark, nodes}}, time.Second)
			return func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				must(t, p.Stop(ctx))
			}
		}
		stop := start()
		waitServing(t, table, len(nodes))
		b := &restartable{w.name, func() { stop() }, func() { stop = start() }}
		r.line("%s", b.measure(t, s, table))
		stop()
	}
}

// restartable is a running program that can be stopped and started again.
type restartable struct {
	name        string
	stop, start func()
}

// measure restarts the program a few times and returns the results as a line.
func (b *restartable) measure(t *testing.T, s *testbed.Site, table ipvs.Table) string {
	t.Helper()
	traffic := s.StartTraffic(t.Context(), requestRate)
	gaps := measureOutage(table)
	for range restarts {
		answered := traffic.Counts().Answered
		labtest.Eventually(t, timeout, "requests are answered", func() (bool, string) {
			return traffic.Counts().Answered > answered+requestRate, ""
		})
		b.stop()
		b.start()
		waitServing(t, table, len(s.Apps))
	}
	counts := traffic.Stop()
	empty := gaps()
	return fmt.Sprintf("  %-12s no real server had weight for %8s, %4d of %d requests failed, the slowest response took %s",
		b.name, empty.Round(time.Millisecond), counts.Failed, counts.Failed+counts.Answered, counts.Slowest.Round(time.Millisecond))
}

// waitServing waits until all real servers have weight.
func waitServing(t *testing.T, table ipvs.Table, nodes int) {
	t.Helper()
	labtest.Eventually(t, timeout, "all real servers have weight", func() (bool, string) {
		return countWithWeight(table) == nodes, ""
	})
}

// countWithWeight returns how many real servers can get new connections.
func countWithWeight(table ipvs.Table) int {
	services, err := table.Dump(context.Background())
	if err != nil {
		return 0
	}
	n := 0
	for _, s := range services {
		for _, d := range s.Destinations {
			if s.Mark == mark && d.Weight > 0 {
				n++
			}
		}
	}
	return n
}

// measureOutage adds up how long no real server has weight, until the returned function is called.
func measureOutage(table ipvs.Table) func() time.Duration {
	var empty time.Duration
	var watching sync.WaitGroup
	done := make(chan struct{})
	watching.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			none, now := countWithWeight(table) == 0, time.Now()
			if none {
				empty += now.Sub(last)
			}
			last = now
		}
	})
	return func() time.Duration {
		close(done)
		watching.Wait()
		return empty
	}
}

// openTable opens a host's table for reading.
func openTable(t *testing.T, h *lab.Host) ipvs.Table {
	t.Helper()
	var table ipvs.Table
	err := h.Do(func() error {
		kernel, err := ipvs.NewKernel()
		table = kernel
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

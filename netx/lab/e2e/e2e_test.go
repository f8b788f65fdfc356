//go:build lab

package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

const (
	interval = time.Second
	// patience bounds waits for what must happen but has no deadline of its own; the guest is 10 to 20 times slower than metal.
	patience = 60 * time.Second
)

// binary returns the path of the lb under test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LB_BIN")
	if path == "" {
		t.Fatal("LB_BIN is not set: give it the path of the lb to test, as scripts/test does")
	}
	return path
}

// stage builds the scenario for one test and starts the balancer. Unless told otherwise: three nodes, wrr, no ramp-up.
func stage(t *testing.T, change func(*testbed.Options)) *testbed.Site {
	t.Helper()
	o := testbed.Options{Binary: binary(t), Nodes: 3, Scheduler: "wrr", CheckInterval: interval, Logs: t.Output()}
	if change != nil {
		change(&o)
	}
	s, err := testbed.New(t.Context(), slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Balancer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// settled waits until every node has this weight in the kernel.
func settled(t *testing.T, s *testbed.Site, weight int) {
	t.Helper()
	labtest.Eventually(t, patience, fmt.Sprintf("all weights are %d", weight), func() (bool, string) {
		got := weights(t, s)
		if len(got) != len(s.ConfiguredApps()) {
			return false, fmt.Sprint(got)
		}
		for _, w := range got {
			if w != weight {
				return false, fmt.Sprint(got)
			}
		}
		return true, ""
	})
}

// destination matches a line of `ipvsadm -Sn`: the mark, the node's address, and its weight.
var destination = regexp.MustCompile(`(?m)^-a -f (\d+) -r ([0-9.]+):0 -i -w (\d+)`)

// weights returns the weight of each node of mark 7, by address, as ipvsadm sees them.
func weights(t *testing.T, s *testbed.Site) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, m := range destination.FindAllStringSubmatch(labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn"), -1) {
		if m[1] == "7" {
			got[m[2]], _ = strconv.Atoi(m[3]) // \d+ is a number
		}
	}
	return got
}

// lb runs lb on a host; it must succeed.
func lb(t *testing.T, s *testbed.Site, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := s.RunLB(t.Context(), h, args...)
	if err != nil {
		t.Fatalf("lb %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// watchWeights records every set of weights that differs from the one before, until the returned function is called.
func watchWeights(t *testing.T, s *testbed.Site) (stop func() []map[string]int) {
	t.Helper()
	table := kernelTable(t, s)
	done, ended := make(chan struct{}), make(chan struct{})
	var seen []map[string]int
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if now := dump(t, table); len(seen) == 0 || fmt.Sprint(seen[len(seen)-1]) != fmt.Sprint(now) {
				seen = append(seen, now)
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() []map[string]int {
		close(done)
		<-ended
		return seen
	}
}

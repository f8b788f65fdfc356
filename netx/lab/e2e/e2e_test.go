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
	checkInterval = time.Second
	// timeout limits waits for events without a deadline of their own; the guest is 10 to 20 times slower than real hardware.
	timeout = 60 * time.Second
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

// newSite builds a site for one test and starts its balancer. By default it has three nodes, wrr and no ramp-up.
func newSite(t *testing.T, change func(*testbed.Options)) *testbed.Site {
	t.Helper()
	o := testbed.Options{Binary: binary(t), Nodes: 3, Scheduler: "wrr", CheckInterval: checkInterval, Logs: t.Output()}
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

// waitForWeight waits until every node has this weight in the kernel.
func waitForWeight(t *testing.T, s *testbed.Site, weight int) {
	t.Helper()
	labtest.Eventually(t, timeout, fmt.Sprintf("all weights are %d", weight), func() (bool, string) {
		got := readWeights(t, s)
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

// destinationLine matches a line of `ipvsadm -Sn`: mark, node address, weight.
var destinationLine = regexp.MustCompile(`(?m)^-a -f (\d+) -r ([0-9.]+):0 -i -w (\d+)`)

// readWeights returns the weight of each node of mark 7 by address, read with ipvsadm.
func readWeights(t *testing.T, s *testbed.Site) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, m := range destinationLine.FindAllStringSubmatch(labtest.Run(t, s.BalancerHost, "ipvsadm", "-Sn"), -1) {
		if m[1] == "7" {
			got[m[2]], _ = strconv.Atoi(m[3]) // \d+ is a number
		}
	}
	return got
}

// runLB runs lb on a host. The test fails if lb does.
func runLB(t *testing.T, s *testbed.Site, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := s.RunLB(t.Context(), h, args...)
	if err != nil {
		t.Fatalf("lb %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// recordWeights records the weights each time they change, until the returned function is called.
func recordWeights(t *testing.T, s *testbed.Site) (stop func() []map[string]int) {
	t.Helper()
	table := openTable(t, s)
	done, ended := make(chan struct{}), make(chan struct{})
	var seen []map[string]int
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if now := dumpWeights(t, table); len(seen) == 0 || fmt.Sprint(seen[len(seen)-1]) != fmt.Sprint(now) {
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

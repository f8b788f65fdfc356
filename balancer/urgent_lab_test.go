//go:build lab

package balancer

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDriftIsFoundOnTheKernelBehindAWeightThatWasSentAtOnce has ipvsadm change the table, and then a reading come long before the engine would look.
func TestDriftIsFoundOnTheKernelBehindAWeightThatWasSentAtOnce(t *testing.T) {
	b := newRealBench(t)
	b.web.CheckInterval, b.web.CheckTimeout = time.Hour, time.Minute
	b.fleet.set("10.0.0.1", 92)
	b.fleet.set("10.0.0.2", 40)
	e, kill := b.run()
	defer kill()
	if changed, err := e.Start(t.Context(), "web", "test"); !changed || err != nil {
		t.Fatalf("start: %v, %v", changed, err)
	}
	for n, tt := range []struct{ hand, log string }{
		{"-e -f 7 -r 10.0.0.2 -i -w 5", "weight 5 → 40"},
		{"-d -f 7 -r 10.0.0.2", "add node 10.0.0.2 weight 40"},
		{"-d -f 7 -r 10.0.0.1", "add node 10.0.0.1 weight 63"},
		{"-E -f 7 -s rr", "scheduler rr → wlc"},
		{"-D -f 7", "add node 10.0.0.1 weight 65"},
	} {
		tool(t, "ipvsadm "+tt.hand)
		health := 61 + n
		b.hear(e, health, "10.0.0.1")
		b.has("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w "+strconv.Itoa(health), "-a -f 7 -r 10.0.0.2:0 -i -w 40")
		eventually(t, "drift is told of: "+tt.log, func() bool {
			return slices.ContainsFunc(strings.Split(b.log.String(), "\n"), func(line string) bool {
				return strings.Contains(line, "drift repaired") && strings.Contains(line, tt.log)
			})
		})
	}
}

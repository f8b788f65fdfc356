//go:build lab

package balancer

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDriftIsFoundOnTheKernelAfterAnUrgentWeight changes the table with ipvsadm, and then observes a reading long before the next
// reconcile is due.
func TestDriftIsFoundOnTheKernelAfterAnUrgentWeight(t *testing.T) {
	r := newKernelRig(t)
	r.web.CheckInterval, r.web.CheckTimeout = time.Hour, time.Minute
	r.fleet.set("10.0.0.1", 92)
	r.fleet.set("10.0.0.2", 40)
	e, kill := r.run()
	defer kill()
	if changed, err := e.Start(t.Context(), "web", "test"); !changed || err != nil {
		t.Fatalf("start: %v, %v", changed, err)
	}
	for n, tt := range []struct{ change, log string }{
		{"-e -f 7 -r 10.0.0.2 -i -w 5", "weight 5 → 40"},
		{"-d -f 7 -r 10.0.0.2", "add node 10.0.0.2 weight 40"},
		{"-d -f 7 -r 10.0.0.1", "add node 10.0.0.1 weight 63"},
		{"-E -f 7 -s rr", "scheduler rr → wlc"},
		{"-D -f 7", "add node 10.0.0.1 weight 65"},
	} {
		runTool(t, "ipvsadm "+tt.change)
		health := 61 + n
		r.observe(e, health, "10.0.0.1")
		r.wantIPVSAdm("-A -f 7 -s wlc", "-a -f 7 -r 10.0.0.1:0 -i -w "+strconv.Itoa(health), "-a -f 7 -r 10.0.0.2:0 -i -w 40")
		eventually(t, "drift is logged: "+tt.log, func() bool {
			return slices.ContainsFunc(strings.Split(r.log.String(), "\n"), func(line string) bool {
				return strings.Contains(line, "drift repaired") && strings.Contains(line, tt.log)
			})
		})
	}
}

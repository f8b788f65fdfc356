//go:build lab

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/netx/lab/labtest"
)

// TestAForceIsInTheKernelAtOnce measures from the request for a force on an agent to the weight in the kernel, over the agent's stream. The goal, a median
// under 10 ms and 99 of 100 under 50 ms, is told and fails nothing: in the guest, 10 to 20 times slower than metal, other work on the host is most of it.
// By polls alone the median would be half an interval.
func TestAForceIsInTheKernelAtOnce(t *testing.T) {
	const forces, calm = 50, 100 * time.Millisecond
	s := stage(t, nil)
	settled(t, s, 100)
	labtest.Eventually(t, patience, "app02 is watched by its stream", func() (bool, string) {
		out := lb(t, s, s.Load, "ctl", "why", "webapp", "10.0.0.2")
		return strings.Contains(out, "watched by stream"), out
	})
	table := kernelTable(t, s)
	agent := s.Apps[1].Agent.Client()
	var took []time.Duration
	for n := range forces {
		method, want := http.MethodPost, 0
		if n%2 == 1 {
			method, want = http.MethodDelete, 100
		}
		<-time.After(calm)
		begun := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://agent/webapp/down?reason=measured", nil)
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			resp, err := agent.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			answered <- err
		}()
		for dump(t, table)["10.0.0.2"] != want {
			if time.Since(begun) > patience {
				t.Fatalf("force %d is not in the kernel after %s", n, patience)
			}
			<-time.After(time.Millisecond) // leaves the guest's two processors to those who are measured
		}
		took = append(took, time.Since(begun))
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	half, most := took[forces/2], took[forces*99/100]
	t.Logf("from a force to the weight in the kernel, %d times: half within %s (goal 10 ms), 99 of 100 within %s (goal 50 ms), at least %s", forces, half, most, took[0])
	if half > interval/4 {
		t.Errorf("half of %d forces took more than %s, as if there were no stream: %v", forces, interval/4, took)
	}
}

//go:build lab

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/talk"
	"github.com/braintree/lb/netx/sse"
)

// TestAForceIsInTheKernelAtOnce measures from the request for a force on an agent to the weight in the kernel, over the agent's stream. The goal, a median
// under 10 ms and 99 of 100 under 50 ms, is told and fails nothing: in the guest, 10 to 20 times slower than metal, other work on the host is most of it.
// By polls alone the median would be half an interval.
//
// The end is the time of the balancer's event, which it makes once the kernel has the weight. The kernel's own table is looked at then, and not all the
// while: that would hold the guest's processors, and IPVS's lock, against those who are measured.
func TestAForceIsInTheKernelAtOnce(t *testing.T) {
	const forces, calm = 50, 100 * time.Millisecond
	s := stage(t, nil)
	settled(t, s, 100)
	labtest.Eventually(t, patience, "app02 is watched by its stream", func() (bool, string) {
		out := lb(t, s, s.Load, "ctl", "why", "webapp", "10.0.0.2")
		return strings.Contains(out, "watched by stream"), out
	})
	table, next := kernelTable(t, s), weightEvents(t, s)
	agent := s.Apps[1].Agent.Client()
	transport := agent.Transport.(*http.Transport)
	transport.DisableKeepAlives = false
	t.Cleanup(transport.CloseIdleConnections)
	var took []time.Duration
	for n := range forces {
		method, want := http.MethodPost, 0
		if n%2 == 1 {
			method, want = http.MethodDelete, 100
		}
		<-time.After(calm)
		req, err := http.NewRequestWithContext(t.Context(), method, "http://agent/webapp/down?reason=measured", nil)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		resp, err := agent.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // read to its end
		e := next()
		for e.Node != "10.0.0.2" || e.New != strconv.Itoa(want) {
			e = next()
		}
		took = append(took, e.Time.Sub(begun))
		if got := dump(t, table)["10.0.0.2"]; got != want {
			t.Errorf("force %d: the balancer tells of weight %d, and the kernel has %d", n, want, got)
		}
	}
	slices.Sort(took)
	half, most := took[forces/2], took[forces*99/100]
	t.Logf("from a force to the weight in the kernel, %d times: half within %s (goal 10 ms), 99 of 100 within %s (goal 50 ms), at least %s", forces, half, most, took[0])
	if half > interval/8 {
		t.Errorf("half of %d forces took more than %s: over the stream it should be a few ms on metal, and 20 times that in a busy guest: %v", forces, interval/8, took)
	}
}

// weightEvents follows the balancer's events. What it returns waits for the next weight in the kernel.
func weightEvents(t *testing.T, s *talk.Scenario) (next func() event.Event) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://balancer/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := s.Balancer.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // a stream has no end
	in := sse.NewReader(bufio.NewReader(resp.Body))
	return func() event.Event {
		t.Helper()
		for {
			read, err := in.Next()
			if err != nil {
				t.Fatal(err)
			}
			var e event.Event
			if read.Name != string(event.Weight) {
				continue
			}
			if err := json.Unmarshal(read.Data, &e); err != nil {
				t.Fatal(err)
			}
			return e
		}
	}
}

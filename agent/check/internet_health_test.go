package check

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func TestInternetHealth(t *testing.T) {
	a, b := respond(t, func(string) string { return "" }), respond(t, func(string) string { return "" })
	for _, tc := range []struct {
		name   string
		hosts  []string
		value  float64
		reason string
	}{
		{"all reachable", []string{a, b}, 90, "2 of 2 hosts are reachable"},
		{"one in three", []string{a, "127.0.0.1:1", "127.0.0.1:2"}, 30,
			"1 of 3 hosts are reachable; 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; 127.0.0.1:2"},
		{"none", []string{"127.0.0.1:1"}, 0, "0 of 1 hosts are reachable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, metric("internet_health", 90, map[string]any{"hosts": tc.hosts}), Host{})
			want(t, r, true, tc.reason)
			if math.Abs(r.Value-tc.value) > 1e-9 {
				t.Errorf("value %v, want %v", r.Value, tc.value)
			}
		})
	}
}

// A full queue drops new connections, so they hang like connections to a host that is down.
func TestHungHostsTimeOutTogether(t *testing.T) {
	q, silent := tcpQueue(t, "127.0.0.1:0", 0)
	q.connect(1)
	_, other := tcpQueue(t, "127.0.0.1:0", 5)
	c := metric("internet_health", 90, map[string]any{"hosts": []string{silent.String(), fmt.Sprintf("localhost:%d", silent.Port()),
		other.String()}})
	c.Timeout = 300 * time.Millisecond
	start := time.Now()
	r := run(t, c, Host{})
	want(t, r, true, "1 of 3 hosts are reachable; "+silent.String()+": timed out after 300ms")
	if took := time.Since(start); r.Value != 30 || took > 3*time.Second {
		t.Errorf("%v after %s", r.Value, took)
	}
}

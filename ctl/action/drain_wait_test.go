package action

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

func TestWaitForConnectionsShowsWhatRemains(t *testing.T) {
	const resumed = "10.0.0.1 is no longer drained in web: it was resumed, or the drain expired"
	for _, tt := range []struct {
		name     string
		states   []string // of the node, one for each request; the last one repeats
		wait     time.Duration
		progress string
		err      string
	}{
		{"none", []string{`"drain":{},"kernel_weight":0`}, time.Minute, "no active connections left\n", ""},
		{"two that end", []string{`"drain":{},"active_connections":2`, `"drain":{}`}, time.Minute,
			"active connections of 10.0.0.1 in web: 2\nno active connections left\n", ""},
		{"one that stays", []string{`"drain":{},"active_connections":1`}, 50 * time.Millisecond,
			"active connections of 10.0.0.1 in web: 1\n",
			"timed out after 50ms: active connections of 10.0.0.1 in web: 1; " +
				"the drain continues: run the same command again to keep waiting"},
		{"resumed", []string{`"active_connections":1`}, time.Minute, "", resumed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				at := min(int(requests.Add(1)), len(tt.states)) - 1
				fmt.Fprintf(w, `{"name":"web","nodes":[{"address":"10.0.0.1",%s}]}`, tt.states[at])
			}))
			defer srv.Close()
			c, err := client.New(client.Balancer(), srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			var progress bytes.Buffer
			err = waitForConnections(t.Context(), &progress, c, []api.DrainReport{{Cluster: "web", Node: "10.0.0.1"}}, tt.wait)
			wantError(t, err, tt.err)
			if progress.String() != tt.progress {
				t.Errorf("printed %q, want %q", progress.String(), tt.progress)
			}
		})
	}
}

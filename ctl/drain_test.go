package ctl

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/balancer/client"
)

func TestParseDrain(t *testing.T) {
	for _, tt := range []struct {
		name, args, host string
		want             string // the path that is asked
		err              string
	}{
		{"cluster and node", "web 10.0.0.1", "", "/cluster/web/drain/10.0.0.1", ""},
		{"IPv6", "web fd00::1", "", "/cluster/web/drain/fd00::1", ""},
		{"host", "", "10.0.0.1", "/drain/10.0.0.1", ""},
		{"nothing", "", "", "", "which node? lb ctl drain CLUSTER NODE, or lb ctl drain --host NODE for every cluster that has it"},
		{"no node", "web", "", "", "which node? lb ctl drain CLUSTER NODE, or lb ctl drain --host NODE for every cluster that has it"},
		{"both", "web", "10.0.0.1", "", `--host means every cluster that has the node: leave "web" out, or write lb ctl drain CLUSTER NODE`},
		{"a name", "web app01", "", "", `"app01" is not the address of a node: write it as the configuration does, such as 10.0.0.1`},
		{"a path", "../web 10.0.0.1", "", "", `"../web" cannot be the name of a cluster: names consist of letters, digits and any of _ : . -`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ParseDrain("drain", strings.Fields(tt.args), tt.host)
			wantError(t, err, tt.err)
			if err == nil && d.path() != tt.want {
				t.Errorf("asks %s, want %s", d.path(), tt.want)
			}
		})
	}
}

func TestDrainAsksTheBalancer(t *testing.T) {
	const done = `{"change":"drained","drains":[{"cluster":"web","node":"10.0.0.1","reason":"disks","who":"kim","at":"2026-11-25T12:00:00Z","expires":"2026-11-25T14:00:00Z","active_connections":3}]}`
	d := &daemon{answers: map[string]answer{
		"POST /cluster/web/drain/10.0.0.1":   {200, "", done},
		"POST /cluster/web/drain/10.0.0.2":   {409, "without 10.0.0.2 cluster web has 0 healthy nodes\n", ""},
		"POST /cluster/web/drain/10.0.0.9":   {404, "cluster web has no node 10.0.0.9; its nodes are 10.0.0.1, 10.0.0.2\n", ""},
		"DELETE /cluster/web/drain/10.0.0.1": {200, "", strings.Replace(done, "drained", "undrained", 1)},
	}}
	c := d.ask(t, client.Balancer())
	var out bytes.Buffer
	of := func(n string) Drain {
		return Drain{Cluster: "web", Node: netip.MustParseAddr(n), Reason: "disks", For: "2h", Who: "kim", Force: true}
	}
	if reports, err := of("10.0.0.1").Do(t.Context(), &out, c); err != nil || len(reports) != 1 {
		t.Errorf("%v, %v", reports, err)
	}
	_, err := of("10.0.0.2").Do(t.Context(), &out, c)
	wantError(t, err, "lb balance refused: without 10.0.0.2 cluster web has 0 healthy nodes")
	_, err = of("10.0.0.9").Do(t.Context(), &out, c)
	wantError(t, err, "cluster web has no node 10.0.0.9; its nodes are 10.0.0.1, 10.0.0.2: `lb ctl cluster list` shows the clusters, `lb ctl drains` what is drained")
	if err := of("10.0.0.1").Undo(t.Context(), &out, c); err != nil {
		t.Error(err)
	}
	if want := "10.0.0.1 is drained in web, until 2026-11-25T14:00:00Z\n10.0.0.1 is no longer drained in web\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if want := "POST /cluster/web/drain/10.0.0.1 for=2h&force=true&reason=disks&who=kim"; d.asked[0] != want {
		t.Errorf("asked %q, want %q", d.asked[0], want)
	}
}

func TestDrains(t *testing.T) {
	const list = `[{"cluster":"web","node":"10.0.0.1","reason":"disks","who":"kim","at":"2026-11-25T12:00:00Z","expires":"2026-11-25T14:00:00Z","active_connections":3},
		{"cluster":"web","node":"10.0.0.9","reason":"","who":"ann","at":"2026-11-25T12:00:00Z","stale":true,"active_connections":0}]`
	for name, tt := range map[string]struct{ list, want string }{
		"two": {list, `CLUSTER  NODE      ACTIVE  UNTIL                 WHO  WHY
web      10.0.0.1  3       2026-11-25T14:00:00Z  kim  disks
web      10.0.0.9  -       -                     ann  (not in the configuration)
`},
		"none": {"[]", "nothing is drained\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &daemon{answers: map[string]answer{"GET /drains": {200, "", tt.list}}}
			var out bytes.Buffer
			wantError(t, Drains(t.Context(), &out, d.ask(t, client.Balancer()), Look{}), "")
			if out.String() != tt.want {
				t.Errorf("printed\n%s\nwant\n%s", out.String(), tt.want)
			}
		})
	}
}

func TestAwaitTellsWhatIsLeft(t *testing.T) {
	const gone = "10.0.0.1 is no longer drained in web: somebody let it in again, or its time is over"
	for _, tt := range []struct {
		name     string
		states   []string // of the node, at one look after the other; the last one stays
		wait     time.Duration
		progress string
		err      string
	}{
		{"nothing", []string{`"drain":{},"kernel_weight":0`}, time.Minute, "no active connection is left\n", ""},
		{"two that end", []string{`"drain":{},"active_connections":2`, `"drain":{}`}, time.Minute, "active connections of 10.0.0.1 in web: 2\nno active connection is left\n", ""},
		{"one that stays", []string{`"drain":{},"active_connections":1`}, 50 * time.Millisecond, "active connections of 10.0.0.1 in web: 1\n",
			"after 50ms there are still active connections of 10.0.0.1 in web: 1; the drain stays: wait on with the same command, or cut them off"},
		{"let in again", []string{`"active_connections":1`}, time.Minute, "", gone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var looks atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				at := min(int(looks.Add(1)), len(tt.states)) - 1
				fmt.Fprintf(w, `{"name":"web","nodes":[{"address":"10.0.0.1",%s}]}`, tt.states[at])
			}))
			defer srv.Close()
			c, err := client.New(client.Balancer(), srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			var progress bytes.Buffer
			err = Await(t.Context(), &progress, c, []api.DrainReport{{Cluster: "web", Node: "10.0.0.1"}}, tt.wait)
			wantError(t, err, tt.err)
			if progress.String() != tt.progress {
				t.Errorf("said %q, want %q", progress.String(), tt.progress)
			}
		})
	}
}

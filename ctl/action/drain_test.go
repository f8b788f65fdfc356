package action

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

func TestParseDrain(t *testing.T) {
	const missing = "missing node: usage: lb ctl drain CLUSTER NODE, or lb ctl drain --host NODE for every cluster that has it"
	for _, tt := range []struct {
		name, args, host string
		want             string // path of the request
		err              string
	}{
		{"cluster and node", "web 10.0.0.1", "", "/cluster/web/drain/10.0.0.1", ""},
		{"IPv6", "web fd00::1", "", "/cluster/web/drain/fd00::1", ""},
		{"host", "", "10.0.0.1", "/drain/10.0.0.1", ""},
		{"nothing", "", "", "", missing},
		{"no node", "web", "", "", missing},
		{"both", "web", "10.0.0.1", "", `--host selects every cluster that has the node: remove "web", or use lb ctl drain CLUSTER NODE`},
		{"a name", "web app01", "", "", `"app01" is not a node's address: use the one in the configuration, such as 10.0.0.1`},
		{"a path", "../web 10.0.0.1", "", "",
			`"../web" cannot be the name of a cluster: names consist of letters, digits and any of _ : . -`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ParseDrain("drain", strings.Fields(tt.args), tt.host)
			wantError(t, err, tt.err)
			if err == nil && d.path() != tt.want {
				t.Errorf("path %s, want %s", d.path(), tt.want)
			}
		})
	}
}

func TestDrainSendsARequest(t *testing.T) {
	const done = `{"change":"drained","drains":[{"cluster":"web","node":"10.0.0.1","reason":"disks","who":"kim",
		"at":"2026-11-25T12:00:00Z","expires":"2026-11-25T14:00:00Z","active_connections":3}]}`
	d := &fakeDaemon{responses: map[string]response{
		"POST /cluster/web/drain/10.0.0.1":   {200, "", done},
		"POST /cluster/web/drain/10.0.0.2":   {409, "without 10.0.0.2 cluster web has 0 healthy nodes\n", ""},
		"POST /cluster/web/drain/10.0.0.9":   {404, "cluster web has no node 10.0.0.9; its nodes are 10.0.0.1, 10.0.0.2\n", ""},
		"POST /cluster/web/drain/10.0.0.3":   {500, "", strings.Replace(done, `{`, `{"error":"on disk, but …",`, 1)},
		"DELETE /cluster/web/drain/10.0.0.1": {200, "", strings.Replace(done, "drained", "undrained", 1)},
	}}
	c := d.client(t, client.Balancer())
	var out bytes.Buffer
	of := func(n string) Drain {
		return Drain{Cluster: "web", Node: netip.MustParseAddr(n), Reason: "disks", For: "2h", Who: "kim", Force: true}
	}
	if reports, err := of("10.0.0.1").drain(t.Context(), &out, c); err != nil || len(reports) != 1 {
		t.Errorf("%v, %v", reports, err)
	}
	_, err := of("10.0.0.2").drain(t.Context(), &out, c)
	wantError(t, err, "lb balance refused: without 10.0.0.2 cluster web has 0 healthy nodes")
	var partly bytes.Buffer
	_, err = of("10.0.0.3").drain(t.Context(), &partly, c)
	wantError(t, err, "on disk, but …")
	if !strings.HasPrefix(partly.String(), "10.0.0.1 is drained in web, until ") || strings.Contains(partly.String(), "disk") {
		t.Errorf("a drain that the kernel rejects prints %q", partly.String())
	}
	_, err = of("10.0.0.9").drain(t.Context(), &out, c)
	wantError(t, err, "cluster web has no node 10.0.0.9; its nodes are 10.0.0.1, 10.0.0.2: "+
		"`lb ctl cluster list` shows the clusters, `lb ctl drains` the drained nodes")
	if err := of("10.0.0.1").Undo(t.Context(), &out, c); err != nil {
		t.Error(err)
	}
	if want := "10.0.0.1 is drained in web, until 2026-11-25T14:00:00Z\n10.0.0.1 is no longer drained in web\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if want := "POST /cluster/web/drain/10.0.0.1 for=2h&force=true&reason=disks&who=kim"; d.requests[0] != want {
		t.Errorf("sent %q, want %q", d.requests[0], want)
	}
}

func TestDrains(t *testing.T) {
	const list = `[{"cluster":"web","node":"10.0.0.1","reason":"disks","who":"kim","at":"2026-11-25T12:00:00Z",
		"expires":"2026-11-25T14:00:00Z","active_connections":3},
		{"cluster":"web","node":"10.0.0.9","reason":"","who":"ann","at":"2026-11-25T12:00:00Z","stale":true,"active_connections":0}]`
	for name, tt := range map[string]struct{ list, want string }{
		"two": {list, `CLUSTER  NODE      ACTIVE  UNTIL                 WHO  WHY
web      10.0.0.1  3       2026-11-25T14:00:00Z  kim  disks
web      10.0.0.9  -       -                     ann  (not in the configuration)
`},
		"none": {"[]", "no drained nodes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &fakeDaemon{responses: map[string]response{"GET /drains": {200, "", tt.list}}}
			var out bytes.Buffer
			wantError(t, Drains(t.Context(), &out, d.client(t, client.Balancer()), Format{}), "")
			if out.String() != tt.want {
				t.Errorf("printed\n%s\nwant\n%s", out.String(), tt.want)
			}
		})
	}
}

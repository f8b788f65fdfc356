package action

import (
	"bytes"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

func TestWhy(t *testing.T) {
	const state = `{"name":"web","mark":7,"scheduler":"wlc","running":true,
		"mode":"active_active","all_down":"none","notice":"","combined_weight":50,"last_error":"","nodes":[
		{"address":"10.0.0.1","weight":50,"kernel_weight":50,"state":"ramping","watched":"stream",
		 "active_connections":3,"inactive_connections":14,
		 "steps":[{"name":"reading","in":100,"out":100,"reason":"agent reported health 100"},
		  {"name":"ramp-up","in":100,"out":50,"reason":"ramping up: 30s of 1m0s, 50 of 100"}]},
		{"address":"10.0.0.2","weight":0,"state":"unknown","steps":[{"name":"reading","in":0,"out":0,"reason":"no reading yet"}]},
		{"address":"fd00::1","weight":0,"state":"down","steps":[]}]}`
	const first = `web, node 10.0.0.1: ramping, weight 50, watched by stream
  reading  100 → 100  agent reported health 100
  ramp-up  100 → 50   ramping up: 30s of 1m0s, 50 of 100
  kernel   50         3 active and 14 inactive connections
`
	const second = `web, node 10.0.0.2: unknown, weight 0
  reading  0 → 0  no reading yet
  kernel   -      not in the kernel's table
`
	const third = `web, node fd00::1: down, weight 0
  kernel  -  not in the kernel's table
`
	d := &fakeDaemon{responses: map[string]response{"GET /cluster/web": {200, "", state}}}
	c := d.client(t, client.Balancer())
	for _, tt := range []struct{ name, node, want, err string }{
		{"every node", "", "web: mode active_active, all_down none\n" + first + second + third, ""},
		{"one node", "10.0.0.2", second, ""},
		{"one node, another notation", "FD00:0::1", third, ""},
		{"no address", "app01", "", `"app01" is not a node's address: use the one in the configuration, such as 10.0.0.1`},
		{"no such node", "10.0.0.3", "", "cluster web has no node \"10.0.0.3\": `lb ctl cluster status web` shows its nodes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			wantError(t, Why(t.Context(), &out, c, "web", tt.node), tt.err)
			if out.String() != tt.want {
				t.Errorf("printed\n%s\nwant\n%s", out.String(), tt.want)
			}
		})
	}
}

package action

import (
	"bytes"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

func TestCluster(t *testing.T) {
	const state = `{"name":"web","mark":7,"scheduler":"wlc","running":true,"combined_weight":92,"last_error":"put: no","future":1,
		"problems":[{"kind":"vip_absent","cluster":"web","text":"10.9.9.9 is on no interface","fix":"add it"}],"nodes":[
		{"address":"10.0.0.1","port":9293,"health":92,"weight":92,"kernel_weight":90,
		 "state":"up","why":"health 92","active_connections":3,"inactive_connections":14},
		{"address":"10.0.0.10","port":9293,"health":null,"weight":0,"state":"unknown","why":"no response yet"}]}`
	const statusText = `web: running, mark 7, wlc, combined weight 92
last error: put: no
problem: 10.9.9.9 is on no interface → add it
NODE       HEALTH  WEIGHT  KERNEL  ACTIVE  INACTIVE  STATE    WHY
10.0.0.1   92      92      90      3       14        up       health 92
10.0.0.10  -       0       -       0       0         unknown  no response yet
`
	d := &fakeDaemon{responses: map[string]response{
		"GET /":                 {200, "Running:\n+ web (7)", `[]`},
		"GET /cluster/web":      {200, "Running: true\n", state},
		"GET /cluster/empty":    {200, "", `{"name":"empty","mark":8,"scheduler":"rr","nodes":null}`},
		"PUT /cluster/web":      {304, "", ""},
		"DELETE /cluster/web":   {200, "OK", ""},
		"PUT /cluster/empty":    {200, "OK", ""},
		"DELETE /cluster/empty": {304, "", ""},
		"PUT /cluster/bad":      {500, "put service mark 9: permission denied", ""},
	}}
	c := d.client(t, client.Balancer())
	ctx := t.Context()
	tests := map[string]struct {
		do   func(out *bytes.Buffer) error
		want string
		err  string
	}{
		"list":       {do: func(out *bytes.Buffer) error { return ClusterList(ctx, out, c, Format{}) }, want: "Running:\n+ web (7)\n"},
		"list, json": {do: func(out *bytes.Buffer) error { return ClusterList(ctx, out, c, Format{JSON: true}) }, want: "[]\n"},
		"status":     {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "web", Format{}) }, want: statusText},
		"status, no nodes": {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "empty", Format{}) },
			want: "empty: stopped, mark 8, rr, combined weight 0\nno nodes\n"},
		"status, unknown": {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "nope", Format{}) },
			err: "this balancer has no cluster \"nope\": `lb ctl cluster list` shows its clusters"},
		"status, unknown, json": {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "nope", Format{JSON: true}) },
			err: "this balancer has no cluster \"nope\": `lb ctl cluster list` shows its clusters"},
		"start, running": {do: func(out *bytes.Buffer) error { return ClusterStart(ctx, out, c, "web") },
			want: "web is already running\n"},
		"stop, running":  {do: func(out *bytes.Buffer) error { return ClusterStop(ctx, out, c, "web") }, want: "web stopped\n"},
		"start, stopped": {do: func(out *bytes.Buffer) error { return ClusterStart(ctx, out, c, "empty") }, want: "empty started\n"},
		"stop, stopped": {do: func(out *bytes.Buffer) error { return ClusterStop(ctx, out, c, "empty") },
			want: "empty is not running\n"},
		"start, kernel error": {do: func(out *bytes.Buffer) error { return ClusterStart(ctx, out, c, "bad") },
			err: "lb balance returned status 500: put service mark 9: permission denied; look at `journalctl -u lb-balance`"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			wantError(t, tt.do(&out), tt.err)
			if out.String() != tt.want {
				t.Errorf("printed\n%s\nwant\n%s", out.String(), tt.want)
			}
		})
	}
	for _, request := range d.requests {
		if strings.Contains(request, "/bad") && !strings.HasPrefix(request, "PUT") {
			t.Errorf("sent %s", request)
		}
	}
}

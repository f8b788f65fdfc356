package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/braintree/lb/balancer/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a server that answers as a table says and notes what it was asked.
type daemon struct {
	answers map[string]answer // by method and path
	asked   []string
}

// answer is a status and a body; JSON is served where it is asked for.
type answer struct {
	status int
	text   string
	json   string
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	d.asked = append(d.asked, r.Method+" "+r.URL.Path+" "+r.Form.Encode())
	a, ok := d.answers[r.Method+" "+r.URL.Path]
	if !ok {
		a = answer{status: http.StatusNotFound, text: "NOT FOUND", json: `{"error":"not found"}`}
	}
	w.WriteHeader(a.status)
	if a.status == http.StatusNotModified {
		return
	}
	if r.Header.Get("Accept") == "application/json" && a.json != "" {
		fmt.Fprint(w, a.json)
		return
	}
	fmt.Fprint(w, a.text)
}

// ask starts the daemon and returns a client of it.
func (d *daemon) ask(t *testing.T, kind client.Daemon) *client.Client {
	t.Helper()
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	c, err := client.New(kind, srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantError compares an error's text; "" is no error.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestList(t *testing.T) {
	d := &daemon{answers: map[string]answer{"GET /": {200, "webapp \x1b[0;32;49m 85 \x1b[0m 85 No\n", `{"services":[]}`}}}
	c := d.ask(t, client.Agent())
	tests := map[string]struct {
		look Look
		want string
	}{
		"on a terminal": {Look{}, "webapp \x1b[0;32;49m 85 \x1b[0m 85 No\n"},
		"in a pipe":     {Look{Plain: true}, "webapp  85  85 No\n"},
		"json":          {Look{JSON: true}, "{\n  \"services\": []\n}\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := List(t.Context(), &out, c, tt.look); err != nil || out.String() != tt.want {
				t.Errorf("got %q, %v, want %q", out.String(), err, tt.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	d := &daemon{answers: map[string]answer{
		"GET /up/status":      {200, "Health: 85\n", `{"health":85}`},
		"GET /down/status":    {503, "Health: 0\n", `{"health":0}`},
		"GET /broken/status":  {500, "oh no\nmore", ""},
		"GET /private/status": {403, "not for you\n", ""},
	}}
	c := d.ask(t, client.Agent())
	tests := map[string]struct {
		service string
		look    Look
		out     string
		err     string
		refused bool
	}{
		"up":            {service: "up", out: "Health: 85\n"},
		"up, json":      {service: "up", look: Look{JSON: true}, out: "{\n  \"health\": 85\n}\n"},
		"down":          {service: "down", out: "Health: 0\n", err: ErrDown.Error()},
		"down, json":    {service: "down", look: Look{JSON: true}, out: "{\n  \"health\": 0\n}\n", err: ErrDown.Error()},
		"unknown":       {service: "nope", out: "NOT FOUND\n", err: "this agent has no service \"nope\": `lb ctl list` shows those it has", refused: true},
		"agent fails":   {service: "broken", err: "lb agent answered 500: oh no; look at `journalctl -u lb-agent`"},
		"agent forbids": {service: "private", err: "lb agent refused: not for you", refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Status(t.Context(), &out, c, tt.service, tt.look)
			wantError(t, err, tt.err)
			var refused *client.RefusedError
			if errors.As(err, &refused) != tt.refused {
				t.Errorf("refused: %v, want %v", !tt.refused, tt.refused)
			}
			if out.String() != tt.out {
				t.Errorf("printed %q, want %q", out.String(), tt.out)
			}
		})
	}
}

func TestStatusOfNoNameIsNotAsked(t *testing.T) {
	d := &daemon{}
	c := d.ask(t, client.Agent())
	for _, name := range []string{"", "..", ".", "a/b", "we app", "../test/error", "webapp?x"} {
		var invalid *client.NameError
		if err := Status(t.Context(), &bytes.Buffer{}, c, name, Look{}); !errors.As(err, &invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("the agent was asked %q", d.asked)
	}
}

func TestJSONFromSomethingElse(t *testing.T) {
	d := &daemon{answers: map[string]answer{"GET /": {200, "<html>\n", ""}}}
	err := List(t.Context(), &bytes.Buffer{}, d.ask(t, client.Agent()), Look{JSON: true})
	wantError(t, err, `the answer "<html>" is not JSON: does lb agent listen there?`)
}

func TestCluster(t *testing.T) {
	const state = `{"name":"web","mark":7,"scheduler":"wlc","running":true,"combined_weight":92,"last_error":"put: no","future":1,"nodes":[
		{"address":"10.0.0.1","port":9293,"health":92,"weight":92,"kernel_weight":90,"state":"up","why":"health 92","active_connections":3,"inactive_connections":14},
		{"address":"10.0.0.10","port":9293,"health":null,"weight":0,"state":"unknown","why":"no answer yet"}]}`
	d := &daemon{answers: map[string]answer{
		"GET /":                 {200, "Running:\n+ web (7)", `[]`},
		"GET /cluster/web":      {200, "Running: true\n", state},
		"GET /cluster/empty":    {200, "", `{"name":"empty","mark":8,"scheduler":"rr","nodes":null}`},
		"PUT /cluster/web":      {304, "", ""},
		"DELETE /cluster/web":   {200, "OK", ""},
		"PUT /cluster/empty":    {200, "OK", ""},
		"DELETE /cluster/empty": {304, "", ""},
		"PUT /cluster/bad":      {500, "put service mark 9: permission denied", ""},
	}}
	c := d.ask(t, client.Balancer())
	ctx := t.Context()
	tests := map[string]struct {
		do   func(out *bytes.Buffer) error
		want string
		err  string
	}{
		"list":       {do: func(out *bytes.Buffer) error { return ClusterList(ctx, out, c, Look{}) }, want: "Running:\n+ web (7)\n"},
		"list, json": {do: func(out *bytes.Buffer) error { return ClusterList(ctx, out, c, Look{JSON: true}) }, want: "[]\n"},
		"status": {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "web", Look{}) }, want: `web: running, mark 7, wlc, combined weight 92
last error: put: no
NODE       HEALTH  WEIGHT  KERNEL  ACTIVE  INACTIVE  STATE    WHY
10.0.0.1   92      92      90      3       14        up       health 92
10.0.0.10  -       0       -       0       0         unknown  no answer yet
`},
		"status without nodes":    {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "empty", Look{}) }, want: "empty: stopped, mark 8, rr, combined weight 0\nno nodes\n"},
		"status of none":          {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "nope", Look{}) }, err: "this balancer has no cluster \"nope\": `lb ctl cluster list` shows its clusters"},
		"status of none, json":    {do: func(out *bytes.Buffer) error { return ClusterStatus(ctx, out, c, "nope", Look{JSON: true}) }, err: "this balancer has no cluster \"nope\": `lb ctl cluster list` shows its clusters"},
		"start what runs":         {do: func(out *bytes.Buffer) error { return ClusterSwitch(ctx, out, c, "web", true) }, want: "web already runs\n"},
		"stop what runs":          {do: func(out *bytes.Buffer) error { return ClusterSwitch(ctx, out, c, "web", false) }, want: "web stopped\n"},
		"start what is stopped":   {do: func(out *bytes.Buffer) error { return ClusterSwitch(ctx, out, c, "empty", true) }, want: "empty started\n"},
		"stop what is stopped":    {do: func(out *bytes.Buffer) error { return ClusterSwitch(ctx, out, c, "empty", false) }, want: "empty does not run\n"},
		"start with kernel error": {do: func(out *bytes.Buffer) error { return ClusterSwitch(ctx, out, c, "bad", true) }, err: "lb balance answered 500: put service mark 9: permission denied; look at `journalctl -u lb-balance`"},
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
	for _, asked := range d.asked {
		if strings.Contains(asked, "/bad") && !strings.HasPrefix(asked, "PUT") {
			t.Errorf("asked %s", asked)
		}
	}
}

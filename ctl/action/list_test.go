package action

import (
	"bytes"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

func TestList(t *testing.T) {
	d := &fakeDaemon{responses: map[string]response{"GET /": {200, "webapp \x1b[0;32;49m 85 \x1b[0m 85 No\n", `{"services":[]}`}}}
	c := d.client(t, client.Agent())
	tests := map[string]struct {
		format Format
		want   string
	}{
		"on a terminal": {Format{}, "webapp \x1b[0;32;49m 85 \x1b[0m 85 No\n"},
		"in a pipe":     {Format{NoColor: true}, "webapp  85  85 No\n"},
		"json":          {Format{JSON: true}, "{\n  \"services\": []\n}\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := List(t.Context(), &out, c, tt.format); err != nil || out.String() != tt.want {
				t.Errorf("got %q, %v, want %q", out.String(), err, tt.want)
			}
		})
	}
}

func TestJSONFromAnotherProgram(t *testing.T) {
	d := &fakeDaemon{responses: map[string]response{"GET /": {200, "<html>\n", ""}}}
	err := List(t.Context(), &bytes.Buffer{}, d.client(t, client.Agent()), Format{JSON: true})
	wantError(t, err, `the response "<html>" is not JSON: is lb agent listening at that address?`)
}

package action

import (
	"bytes"
	"errors"
	"testing"

	"github.com/braintree/lb/balancer/client"
)

func TestStatus(t *testing.T) {
	d := &fakeDaemon{responses: map[string]response{
		"GET /up/status":      {200, "Health: 85\n", `{"health":85}`},
		"GET /down/status":    {503, "Health: 0\n", `{"health":0}`},
		"GET /broken/status":  {500, "oh no\nmore", ""},
		"GET /private/status": {403, "not for you\n", ""},
	}}
	c := d.client(t, client.Agent())
	tests := map[string]struct {
		service string
		format  Format
		out     string
		err     string
		refused bool
	}{
		"up":         {service: "up", out: "Health: 85\n"},
		"up, json":   {service: "up", format: Format{JSON: true}, out: "{\n  \"health\": 85\n}\n"},
		"down":       {service: "down", out: "Health: 0\n", err: ErrDown.Error()},
		"down, json": {service: "down", format: Format{JSON: true}, out: "{\n  \"health\": 0\n}\n", err: ErrDown.Error()},
		"unknown": {service: "nope", out: "NOT FOUND\n",
			err: "this agent has no service \"nope\": `lb ctl list` shows its services", refused: true},
		"agent fails":   {service: "broken", err: "lb agent returned status 500: oh no; look at `journalctl -u lb-agent`"},
		"agent forbids": {service: "private", err: "lb agent refused: not for you", refused: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Status(t.Context(), &out, c, tt.service, tt.format)
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

func TestStatusSendsNoInvalidName(t *testing.T) {
	d := &fakeDaemon{}
	c := d.client(t, client.Agent())
	for _, name := range []string{"", "..", ".", "a/b", "we app", "../test/error", "webapp?x"} {
		var invalid *client.NameError
		if err := Status(t.Context(), &bytes.Buffer{}, c, name, Format{}); !errors.As(err, &invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(d.requests) > 0 {
		t.Errorf("the agent received %q", d.requests)
	}
}
